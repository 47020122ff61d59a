-- Many nodes: where a run may go, how many run at a time, what comes after another, and stopping one wherever it is.

-- labels: what jobs may ask for; a draining node takes nothing more.
alter table belfry.nodes
    add column labels   text[]  not null default '{}',
    add column draining boolean not null default false;
--> statement-breakpoint

-- run_on: any worker (empty), 'label:gpu', 'node:n1', or 'all' for a run on each. after_jobs: names of jobs whose runs this one follows.
-- concurrency: so many runs at a time of this job, or of all jobs with its concurrency_key. max_queued: more runs on their way are not made.
alter table belfry.jobs
    add column run_on          text    not null default '',
    add column after_jobs      text[]  not null default '{}',
    add column after_on        text    not null default 'success',
    add column concurrency     integer,
    add column concurrency_key text,
    add column max_queued      integer not null default 1000,
    add constraint jobs_run_on          check (run_on in ('', 'all') or run_on ~ '^(label|node):.'),
    add constraint jobs_after_on        check (after_on in ('success', 'failure', 'either')),
    add constraint jobs_concurrency     check (concurrency > 0),
    add constraint jobs_key_has_a_limit check (concurrency_key is null or concurrency is not null),
    add constraint jobs_max_queued      check (max_queued between 1 and 100000);
--> statement-breakpoint
drop trigger jobs_count_edits on belfry.jobs;
--> statement-breakpoint
create trigger jobs_count_edits
    before update of name, expr, timezone, enabled, command, retry, timeout_ms, log, on_lost, overlap, misfire, catchup_window_ms, max_catchup,
                     blackouts, starts_at, ends_at, max_runs, spread_ms, pause_after_failures,
                     run_on, after_jobs, after_on, concurrency, concurrency_key, max_queued, deleted_at
    on belfry.jobs for each row execute function belfry.job_edited();
--> statement-breakpoint
-- An edit that leaves alone when a job is due leaves its cursor where it is. Any other begins it anew from the time of the edit; what has
-- been due by then and is not dealt with is written down here, should whoever edits not have seen to it.
create or replace function belfry.jobs_changed() returns trigger language plpgsql
-- Many may be edited at once, of which neither statistics nor an earlier plan know.
set enable_nestloop = off set plan_cache_mode = force_custom_plan as $$
declare
    edited bigint[];
    kept   bigint[];
begin
    -- A remark is no edit.
    edited := array(select made.id from made join was on was.id = made.id
                     where (made.revision, made.next_due_at, made.enabled, made.deleted_at, made.ended_at)
                           is distinct from (was.revision, was.next_due_at, was.enabled, was.deleted_at, was.ended_at));
    if edited = '{}' then
        return null;
    end if;
    kept := array(select c.job_id from belfry.cursors c join made on made.id = c.job_id join was on was.id = c.job_id
                   -- Where the revision stays it is its due time that somebody has set.
                   where c.job_id = any (edited) and made.revision <> was.revision
                     and made.enabled and made.deleted_at is null and made.ended_at is null
                     and (made.name, made.expr, made.timezone, made.starts_at, made.ends_at)
                         is not distinct from (was.name, was.expr, was.timezone, was.starts_at, was.ends_at));
    update belfry.cursors c set revision = made.revision, fired = 0 from made where c.job_id = any (kept) and made.id = c.job_id;

    with gone as (
        delete from belfry.cursors where job_id = any (edited) and job_id <> all (kept) returning job_id, next_due_at
    ), overdue as (
        insert into belfry.runs (job_id, job_name, due_at, command, policy, overlap, queued_at, trace_id)
        select was.id, was.name, gone.next_due_at, was.command, was.policy, was.overlap, now(), was.trace_id
          from gone join was on was.id = gone.job_id join made on made.id = gone.job_id
         -- By when it was edited: Belfry's own edits say so.
         where gone.next_due_at <= case when made.updated_at is distinct from was.updated_at then made.updated_at else now() end
           and was.policy is not null and was.trace_id is not null
           -- Unless it is due again now.
           and (made.enabled and made.deleted_at is null and made.ended_at is null and made.next_due_at <= gone.next_due_at) is not true
        on conflict do nothing
        returning id, job_id
    )
    insert into belfry.results (run_id, state, reason, finished_at)
    select overdue.id, 'skipped', case when was.paused_at is null then 'missed' else 'paused' end, now()
      from overdue join was on was.id = overdue.job_id;

    insert into belfry.cursors (job_id, revision, next_due_at)
    select id, revision, next_due_at from made
     where id = any (edited) and id <> all (kept) and enabled and deleted_at is null and ended_at is null and next_due_at is not null;
    return null;
end
$$;
--> statement-breakpoint
-- Serves the look for what comes after a run.
create index jobs_chained on belfry.jobs (id) where after_jobs <> '{}' and deleted_at is null;
--> statement-breakpoint

-- parent_id: the run that this one comes after; chain_length: how many went before it, which ends a ring of jobs.
alter table belfry.runs
    add column parent_id    bigint,
    add column chain_length integer;
--> statement-breakpoint
-- What comes after a run comes once, whoever tells of its end how often.
create unique index runs_after_once on belfry.runs (parent_id, job_id, target) where cause = 'after';
--> statement-breakpoint

-- lane: who may take it, as run_on of its job but 'all', which stands for one to each node. cap_key, cap_max: with whom it shares how many places.
alter table belfry.unfinished
    add column lane          text collate "C" not null default '',
    add column cap_key       text,
    add column cap_max       integer,
    add column cancel_reason text;
--> statement-breakpoint
drop index belfry.unfinished_ready;
--> statement-breakpoint
-- Serves dispatch, lane by lane: what is ready, live before catch-up, oldest first.
create index unfinished_ready on belfry.unfinished (lane, catchup, ready_at, run_id) where not blocked;
--> statement-breakpoint
-- Serves the look for lanes in which something waits; most installations have none but the one for all.
create index unfinished_in_lanes on belfry.unfinished (lane) where lane <> '';
--> statement-breakpoint
-- Serves the count of who shares a number of places.
create index unfinished_capped on belfry.unfinished (cap_key, run_id) where cap_key is not null;
--> statement-breakpoint

-- Wakes the node that runs what shall be stopped.
create function belfry.run_cancelled() returns trigger language plpgsql as $$
begin
    notify belfry_cancel;
    return null;
end
$$;
--> statement-breakpoint
create trigger unfinished_tell_of_cancel after update of cancel_at on belfry.unfinished for each row
    when (new.cancel_at is not null and new.state = 'running') execute function belfry.run_cancelled();
--> statement-breakpoint

-- Where runs of a living job go now, and with whom they share: one row, or one a living worker. is_nowhere: there is no worker.
create view belfry.placements as
    select j.id as job_id, coalesce(living.name, '') as target,
           case when j.run_on <> 'all' then j.run_on when living.name is null then '' else 'node:' || living.name end as lane,
           j.run_on = 'all' and living.name is null as is_nowhere,
           case when j.concurrency is not null then coalesce('key ' || j.concurrency_key, 'job ' || j.id) end as cap_key,
           j.concurrency as cap_max
      from belfry.jobs j
      left join (select distinct 'all' as run_on, name
                   from belfry.nodes
                  where ended_at is null and not draining and 'worker' = any (duties)) as living
        on living.run_on = j.run_on
     -- Not for an index of living jobs to look by.
     where (j.deleted_at is null) is true;
--> statement-breakpoint

-- Why a run is not made where so many of its job are on their way already; nothing: it is made.
create function belfry.refused_by(overlap text, others bigint, max_queued integer) returns text language sql immutable as $$
    select case when others >= max_queued then 'limit'
                when others >= case overlap when 'skip' then 1 when 'wait' then 2 end then 'overlap' end
$$;
--> statement-breakpoint

-- Every run that comes to its end, of whatever kind, gets its row in results: here, in the same transaction, what waited for it is
-- readied, and what comes after it is made.
create function belfry.runs_ended() returns trigger language plpgsql as $$
declare
    ends    integer;
    of_jobs bigint[];
    told    boolean := false;
begin
    -- What was skipped was not run: nobody waited for it, and nothing comes after it.
    if not exists (select from ended where state <> 'skipped') then
        return null;
    end if;

    if exists (select from belfry.unfinished where blocked) then
        select count(*), array_agg(distinct r.job_id) into ends, of_jobs
          from belfry.runs r where r.id = any (array(select run_id from ended));
        update belfry.unfinished b set blocked = false
         where b.run_id = any (array(
                   select n.run_id from belfry.unfinished n
                    where n.blocked and n.run_id = any (array(
                          -- Of each job the first that waits, what is tried again before all others,
                          select coalesce(min(w.run_id) filter (where w.state = 'retrying'), min(w.run_id))
                            from belfry.unfinished w where w.blocked and w.job_id = any (of_jobs) group by w.job_id, w.lane
                          union
                          -- and of those that share with it as many as came to their end; who is tried again has a place.
                          select turn.run_id
                            from (select distinct p.cap_key from belfry.placements p where p.job_id = any (of_jobs) and p.cap_key is not null) as shared
                           cross join lateral (
                                 select w.run_id from belfry.unfinished w
                                  where w.cap_key is not null and w.cap_key = shared.cap_key and w.blocked and w.state = 'queued'
                                  order by w.run_id limit ends) as turn))
                      for no key update skip locked));
        told := found;
    end if;

    if exists (select from belfry.jobs where after_jobs <> '{}' and deleted_at is null) then
        with parent as materialized (
            select r.id, r.job_name, r.trace_id, coalesce(r.chain_length, 0) + 1 as chain_length, e.state, e.finished_at
              from ended e join belfry.runs r on r.id = e.run_id
             where r.id = any (array(select run_id from ended)) and e.state <> 'skipped'
        ), following as materialized (
            select j.id as job_id, j.name, j.command, j.policy, j.overlap, j.max_queued, j.paused_at is not null as is_paused,
                   parent.id as parent_id, parent.trace_id, parent.chain_length, parent.finished_at
              from (select * from belfry.jobs where after_jobs <> '{}' and deleted_at is null offset 0) as j
              join parent on parent.job_name = any (j.after_jobs)
             where j.enabled and j.policy is not null
               and case j.after_on when 'success' then parent.state = 'succeeded'
                                   when 'failure' then parent.state in ('failed', 'cancelled')
                                   else true end
        ), planned as materialized (
            select f.*, p.target, p.lane, p.cap_key, p.cap_max,
                   case when f.is_paused then 'paused' when f.chain_length > 100 then 'limit' when p.is_nowhere then 'no_node'
                        else belfry.refused_by(f.overlap,
                             (select count(*) from belfry.unfinished u where u.job_id = f.job_id and u.lane = p.lane)
                             + row_number() over (partition by f.job_id, p.target order by f.parent_id) - 1, f.max_queued)
                    end as reason
              from following f
              join belfry.placements p on p.job_id = f.job_id and p.job_id = any (array(select job_id from following))
        ), replaced as (
            update belfry.unfinished u set cancel_at = planned.finished_at, cancel_reason = 'replaced'
              from planned
             where u.job_id = any (array(select job_id from planned)) and u.job_id = planned.job_id and u.lane = planned.lane
               and planned.overlap = 'replace' and planned.reason is null
        ), made as (
            insert into belfry.runs (job_id, job_name, cause, target, due_at, command, policy, overlap, queued_at, trace_id, parent_id, chain_length)
            select job_id, name, 'after', target, finished_at, command, policy, overlap, finished_at, trace_id, parent_id, chain_length
              from planned
             order by parent_id, job_id
            on conflict (parent_id, job_id, target) where cause = 'after' do nothing
            returning id, job_id, target, parent_id
        ), begun as (
            insert into belfry.unfinished (run_id, job_id, overlap, ready_at, lane, cap_key, cap_max)
            select made.id, made.job_id, planned.overlap, planned.finished_at, planned.lane, planned.cap_key, planned.cap_max
              from made join planned using (job_id, target, parent_id)
             where planned.reason is null
        ), skipped as (
            insert into belfry.results (run_id, state, reason, finished_at)
            select made.id, 'skipped', planned.reason, planned.finished_at
              from made join planned using (job_id, target, parent_id)
             where planned.reason is not null
        )
        select count(*) > 0 or told into told from made;
    end if;

    if told then
        notify belfry_ready;
    end if;
    return null;
end
$$;
--> statement-breakpoint
create trigger results_lead_on after insert on belfry.results referencing new table as ended
    for each statement execute function belfry.runs_ended();
--> statement-breakpoint

create or replace view belfry.records as
    select r.id, r.job_id, r.job_name, r.cause, r.target, r.due_at, r.last_due_at, r.due_count,
           coalesce(e.state, u.state) as state, e.reason, r.command, r.policy, r.catchup,
           coalesce(e.node, u.node) as node, coalesce(u.attempt, cardinality(e.attempts)) as attempt,
           coalesce(e.failed_count, u.failed_count) as failed_count, array_to_json(coalesce(e.attempts, u.attempts)) as attempts,
           coalesce(e.result, u.result) as result, coalesce(e.error, u.error) as error, r.queued_at,
           coalesce(e.started_at, u.started_at) as started_at, e.finished_at, r.rerun_of, r.trace_id, u.ready_at,
           r.parent_id, u.blocked, u.cancel_at
      from belfry.runs r
      left join belfry.results    e on e.run_id = r.id
      left join belfry.unfinished u on u.run_id = r.id;
--> statement-breakpoint

drop function belfry.claim_runs;
--> statement-breakpoint
-- Claims what is wanted and may run now; what another run holds back is skipped or waits, as its overlap and its cap say, but what
-- is tried again waits in any case.
-- Two statements, and so two snapshots: the first locks the jobs and caps that mind, so that the second sees what others claimed.
create function belfry.claim_runs(wanted bigint[], claimant bigint, claimant_name text, at timestamptz)
returns table (id bigint, job_id bigint, job_name text, cause text, due_at timestamptz, command jsonb, policy json,
               epoch integer, attempt integer, trace_id text, parent_id bigint)
language plpgsql as $$
#variable_conflict use_column
declare
    given integer;
begin
    -- Who was called lost holds nothing more; the lock makes sure that whoever settles its runs sees what it claimed.
    perform from belfry.nodes where incarnation = claimant and ended_at is null for key share;
    if not found then
        return;
    end if;

    perform pg_advisory_xact_lock(kind, which)
       from (select 1650814566 as kind, (u.job_id % 2147483647)::integer as which
               from belfry.unfinished u where u.run_id = any (wanted) and u.overlap <> 'allow'
             union
             select 1650814567, hashtext(u.cap_key)
               from belfry.unfinished u where u.run_id = any (wanted) and (u.cap_key is not null) is true
              order by kind, which) as locks;

    return query
    with ready as materialized (
        select u.run_id, u.overlap, u.state,
               u.overlap <> 'allow' and (
                   row_number() over (partition by u.job_id, u.lane order by u.state = 'retrying' desc, u.ready_at, u.run_id) > 1
                   or (select true from belfry.unfinished o
                        where o.job_id = u.job_id and o.lane = u.lane and o.run_id <> u.run_id and o.state in ('running', 'retrying')
                        limit 1) is not null
               ) as is_over,
               -- A run that is tried again keeps its place.
               u.cap_key is not null and u.state = 'queued'
                   and row_number() over (partition by u.cap_key order by u.state = 'retrying', u.ready_at, u.run_id)
                       + (select count(*) from belfry.unfinished o
                           where o.cap_key is not null and o.cap_key = u.cap_key and o.state in ('running', 'retrying')) > u.cap_max
                   as is_capped
          from belfry.unfinished u
         where u.run_id = any (wanted) and u.state in ('queued', 'retrying') and u.cancel_at is null
           -- Not for the index of what is ready to look by: the rows are named.
           and (u.ready_at <= at and not u.blocked) is true
    ), skipped as (
        delete from belfry.unfinished u
         using ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state = 'queued' and ready.is_over and ready.overlap = 'skip'
        returning u.run_id
    ), ended as (
        insert into belfry.results (run_id, state, reason, finished_at)
        select run_id, 'skipped', 'overlap', at from skipped
    ), waiting as (
        update belfry.unfinished u
           set blocked = true, sent_at = null, sends = 0
          from ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state = ready.state
           and (ready.is_over and (ready.overlap <> 'skip' or ready.state = 'retrying') or ready.is_capped and not ready.is_over)
    ), claimed as (
        update belfry.unfinished u
           set state = 'running', attempt = u.attempt + 1, epoch = u.epoch + 1, owner = claimant, node = claimant_name,
               started_at = coalesce(u.started_at, at), begun_at = at, sent_at = null, sends = 0
          from ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state in ('queued', 'retrying')
           and not ready.is_over and not ready.is_capped
        returning u.run_id, u.epoch, u.attempt
    )
    select r.id, r.job_id, r.job_name, r.cause, r.due_at, r.command, r.policy, claimed.epoch, claimed.attempt, r.trace_id, r.parent_id
      from claimed join belfry.runs r on r.id = claimed.run_id
     where r.id = any (wanted);

    -- Sent by a clock ahead of this one: its message is used up, so it is to be sent again at its time.
    get diagnostics given = row_count;
    if given < cardinality(wanted) then
        update belfry.unfinished u set sent_at = null, sends = greatest(u.sends - 1, 0)
         where u.run_id = any (array(
                   select e.run_id from belfry.unfinished e
                    where e.run_id = any (wanted) and e.state in ('queued', 'retrying') and e.sent_at is not null
                      and (e.ready_at > at and not e.blocked) is true
                      for no key update skip locked));
    end if;
end
$$;
