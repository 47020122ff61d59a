-- What a run writes on its way, made less: an update that changes no indexed column touches no index (a "heap-only" one).

-- The record of a run is such an update now: its state was in an index. What did not go well has a narrow table of its own,
-- which a trigger keeps, so that no statement can forget it.
drop index belfry.runs_not_well;
--> statement-breakpoint
create table belfry.not_well (
    run_id bigint not null,
    state  text   not null,

    -- Serves the search for what did not go well, newest first.
    constraint not_well_pk  primary key (state, run_id),
    -- A record that is forgotten takes its row along.
    constraint not_well_run foreign key (run_id) references belfry.runs (id) on delete cascade
);
--> statement-breakpoint
-- Serves the forgetting.
create index not_well_of_run on belfry.not_well (run_id);
--> statement-breakpoint
insert into belfry.not_well (run_id, state)
select id, state from belfry.runs where state in ('failed', 'cancelled', 'skipped');
--> statement-breakpoint
create function belfry.run_went_not_well() returns trigger language plpgsql as $$
begin
    insert into belfry.not_well (run_id, state) values (new.id, new.state) on conflict do nothing;
    return null;
end
$$;
--> statement-breakpoint
create trigger runs_note_not_well
    after insert or update of state on belfry.runs for each row
    when (new.state in ('failed', 'cancelled', 'skipped'))
    execute function belfry.run_went_not_well();
--> statement-breakpoint

-- So is the claim: who is running stays in the index of what is ready, and the look for what is to be sent passes over it.
drop index belfry.unfinished_ready;
--> statement-breakpoint
create index unfinished_ready on belfry.unfinished (catchup, ready_at, run_id) where not blocked;
--> statement-breakpoint
-- Claims what is wanted and may run now; what another run of its job holds back is skipped or waits, as its overlap says.
-- Two statements, and so two snapshots: the first locks the jobs that mind, so that the second sees what others claimed.
create or replace function belfry.claim_runs(wanted bigint[], claimant bigint, claimant_name text, at timestamptz)
returns table (id bigint, job_id bigint, job_name text, cause text, due_at timestamptz, command jsonb, policy jsonb,
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
         where u.run_id = any (wanted) and u.state in ('queued', 'retrying') and not u.blocked and u.cancel_at is null
           -- Not for an index to look by: the rows are named.
           and (u.ready_at <= at) is true
    ), skipped as (
        delete from belfry.unfinished u
         using ready
         where u.run_id = any (wanted) and u.run_id = ready.run_id and u.state = 'queued' and ready.held_back and ready.overlap = 'skip'
        returning u.run_id
    ), ended as (
        update belfry.runs r
           set state = 'skipped', reason = 'overlap', finished_at = at
          from skipped
         where r.id = any (wanted) and r.id = skipped.run_id
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
