-- What a run writes on its way, made less. A job's cursor is a narrow row of its own, so that a due time that passes does not write
-- the whole job again and all its indexes with it. belfry.runs is written once, when the run is made, and never changed; what became of it
-- is a row of its own in belfry.results, written once as well. Only the narrow row in belfry.unfinished changes, and being sent and
-- claimed changes no indexed column of it (a "heap-only" update, which touches no index).

-- One row a job that is due again: the first of its due times that nobody has dealt with. A tick moves it; an edit of the job, which
-- counts its revision, makes it anew. So jobs.next_due_at is where the cursor began at the last edit; empty: not worked out yet.
create table belfry.cursors (
    job_id      bigint      not null,
    revision    integer     not null,
    next_due_at timestamptz not null,

    constraint cursors_pk primary key (job_id)
)
-- All rows change over and over, so they are tidied often.
with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
--> statement-breakpoint
insert into belfry.cursors (job_id, revision, next_due_at)
select id, revision, next_due_at from belfry.jobs
 where enabled and deleted_at is null and ended_at is null and next_due_at is not null;
--> statement-breakpoint
-- Serves the ticker: what is due.
create index cursors_due on belfry.cursors (next_due_at);
--> statement-breakpoint
drop index belfry.jobs_due;
--> statement-breakpoint
-- Serves the ticker: what is not worked out yet.
create index jobs_unknown on belfry.jobs (id) where enabled and deleted_at is null and ended_at is null and next_due_at is null;
--> statement-breakpoint
create function belfry.jobs_made() returns trigger language plpgsql as $$
begin
    insert into belfry.cursors (job_id, revision, next_due_at)
    select id, revision, next_due_at from made
     where enabled and deleted_at is null and ended_at is null and next_due_at is not null;
    return null;
end
$$;
--> statement-breakpoint
create trigger jobs_begin_cursors after insert on belfry.jobs referencing new table as made for each statement execute function belfry.jobs_made();
--> statement-breakpoint
create function belfry.jobs_changed() returns trigger language plpgsql as $$
declare
    edited bigint[];
begin
    -- A remark that changes leaves the cursor where it is.
    edited := array(select made.id from made join was on was.id = made.id
                     where (made.revision, made.next_due_at, made.enabled, made.deleted_at, made.ended_at)
                           is distinct from (was.revision, was.next_due_at, was.enabled, was.deleted_at, was.ended_at));
    delete from belfry.cursors where job_id = any (edited);
    insert into belfry.cursors (job_id, revision, next_due_at)
    select id, revision, next_due_at from made
     where id = any (edited) and enabled and deleted_at is null and ended_at is null and next_due_at is not null;
    return null;
end
$$;
--> statement-breakpoint
create trigger jobs_begin_cursors_anew after update on belfry.jobs referencing old table as was new table as made
    for each statement execute function belfry.jobs_changed();
--> statement-breakpoint
create function belfry.jobs_gone() returns trigger language plpgsql as $$
begin
    delete from belfry.cursors where job_id = any (array(select id from was));
    return null;
end
$$;
--> statement-breakpoint
create trigger jobs_end_cursors after delete on belfry.jobs referencing old table as was for each statement execute function belfry.jobs_gone();
--> statement-breakpoint

-- One row a run that is at its end.
create table belfry.results (
    run_id       bigint      not null,
    state        text        not null,
    reason       text,
    node         text,
    failed_count integer     not null default 0,
    attempts     json[]      not null default '{}',
    result       json,
    error        text,
    started_at   timestamptz,
    finished_at  timestamptz not null,

    constraint results_pk           primary key (run_id),
    constraint results_final_state  check (state in ('succeeded', 'failed', 'cancelled', 'skipped')),
    constraint results_skip_is_told check (state <> 'skipped' or reason is not null)
);
--> statement-breakpoint
insert into belfry.results (run_id, state, reason, node, failed_count, attempts, result, error, started_at, finished_at)
select id, state, reason, node, failed_count, array(select jsonb_array_elements(attempts)::json), result, error, started_at, finished_at
  from belfry.runs
 where state is not null
 order by id;
--> statement-breakpoint
-- Serves the search for what did not go well, newest first.
create index results_not_well on belfry.results (state, run_id) where state in ('failed', 'cancelled', 'skipped');
--> statement-breakpoint

-- What became of the attempts before the last, of a run that is tried again.
alter table belfry.unfinished
    add column failed_count integer not null default 0,
    add column attempts     json[]  not null default '{}',
    add column result       json,
    add column error        text;
--> statement-breakpoint
update belfry.unfinished u
   set failed_count = r.failed_count, attempts = array(select jsonb_array_elements(r.attempts)::json), result = r.result, error = r.error
  from belfry.runs r
 where r.id = u.run_id;
--> statement-breakpoint
-- Who is running stays in it: the look for what is to be sent passes over them.
drop index belfry.unfinished_ready;
--> statement-breakpoint
create index unfinished_ready on belfry.unfinished (catchup, ready_at, run_id) where not blocked;
--> statement-breakpoint

drop view belfry.records;
--> statement-breakpoint
alter table belfry.runs
    drop column state,
    drop column reason,
    drop column node,
    drop column failed_count,
    drop column attempts,
    drop column result,
    drop column error,
    drop column started_at,
    drop column finished_at,
    -- Handed on whole and never looked into: text is cheaper than a tree.
    alter column policy drop default,
    alter column policy type json using policy::json,
    alter column policy set default '{}',
    reset (fillfactor);
--> statement-breakpoint
alter table belfry.jobs alter column policy type json using policy::json;
--> statement-breakpoint

-- Runs as people see them, wherever they are.
create view belfry.records as
    select r.id, r.job_id, r.job_name, r.cause, r.target, r.due_at, r.last_due_at, r.due_count,
           coalesce(e.state, u.state) as state, e.reason, r.command, r.policy, r.catchup,
           coalesce(e.node, u.node) as node, coalesce(u.attempt, cardinality(e.attempts)) as attempt,
           coalesce(e.failed_count, u.failed_count) as failed_count, array_to_json(coalesce(e.attempts, u.attempts)) as attempts,
           coalesce(e.result, u.result) as result, coalesce(e.error, u.error) as error, r.queued_at,
           coalesce(e.started_at, u.started_at) as started_at, e.finished_at, r.rerun_of, r.trace_id, u.ready_at
      from belfry.runs r
      left join belfry.results    e on e.run_id = r.id
      left join belfry.unfinished u on u.run_id = r.id;
--> statement-breakpoint

drop function belfry.claim_runs;
--> statement-breakpoint
-- Claims what is wanted and may run now; what another run of its job holds back is skipped or waits, as its overlap says.
-- Two statements, and so two snapshots: the first locks the jobs that mind, so that the second sees what others claimed.
create function belfry.claim_runs(wanted bigint[], claimant bigint, claimant_name text, at timestamptz)
returns table (id bigint, job_id bigint, job_name text, cause text, due_at timestamptz, command jsonb, policy json,
               epoch integer, attempt integer, trace_id text)
language plpgsql as $$
#variable_conflict use_column
begin
    -- Who was called lost holds nothing more; the lock makes sure that whoever settles its runs sees what it claimed.
    perform from belfry.nodes where incarnation = claimant and ended_at is null for share;
    if not found then
        return;
    end if;

    perform pg_advisory_xact_lock(1650814566, job)
       from (select distinct (u.job_id % 2147483647)::integer as job
               from belfry.unfinished u
              where u.run_id = any (wanted) and u.overlap <> 'allow'
              order by job) as jobs;

    return query
    with ready as materialized (
        select u.run_id, u.overlap, u.state,
               u.overlap <> 'allow' and (
                   row_number() over (partition by u.job_id order by u.state = 'retrying' desc, u.ready_at, u.run_id) > 1
                   or (select true from belfry.unfinished o
                        where o.job_id = u.job_id and o.run_id <> u.run_id and o.state in ('running', 'retrying')
                        limit 1) is not null
               ) as held_back
          from belfry.unfinished u
         where u.run_id = any (wanted) and u.state in ('queued', 'retrying') and u.cancel_at is null
           -- Not for the index of what is ready to look by: the rows are named.
           and (u.ready_at <= at and not u.blocked) is true
    ), skipped as (
        delete from belfry.unfinished u
         using ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state = 'queued' and ready.held_back and ready.overlap = 'skip'
        returning u.run_id
    ), ended as (
        insert into belfry.results (run_id, state, reason, finished_at)
        select run_id, 'skipped', 'overlap', at from skipped
    ), waiting as (
        update belfry.unfinished u
           set blocked = true, sent_at = null, sends = 0
          from ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state = 'queued' and ready.held_back and ready.overlap <> 'skip'
    ), claimed as (
        update belfry.unfinished u
           set state = 'running', attempt = u.attempt + 1, epoch = u.epoch + 1, owner = claimant, node = claimant_name,
               started_at = coalesce(u.started_at, at), begun_at = at, sent_at = null, sends = 0
          from ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state in ('queued', 'retrying') and not ready.held_back
        returning u.run_id, u.epoch, u.attempt
    )
    select r.id, r.job_id, r.job_name, r.cause, r.due_at, r.command, r.policy, claimed.epoch, claimed.attempt, r.trace_id
      from claimed join belfry.runs r on r.id = claimed.run_id
     where r.id = any (wanted);
end
$$;
