-- The house of Belfry: what shall run (jobs), what became of it (runs), and who does it (nodes).
-- Everything lies in the schema belfry; BullMQ's own tables, where PostgreSQL carries its messages, lie in another.

-- One row: what the whole installation shares.
create table belfry.installation (
    only_row     boolean     not null default true,
    id           text        not null default substr(md5(random()::text || clock_timestamp()::text), 1, 12),
    -- When somebody last looked for due jobs, and the last time for which nobody did: due times in it were missed.
    last_tick_at timestamptz,
    gap_from     timestamptz,
    gap_to       timestamptz,
    created_at   timestamptz not null default now(),

    constraint installation_pk       primary key (only_row),
    constraint installation_one_row  check (only_row)
);
--> statement-breakpoint
insert into belfry.installation default values;
--> statement-breakpoint

-- One row a start of a process. `beat` is raised by the living; who sees it stand still for a whole lease calls it lost.
create table belfry.nodes (
    incarnation bigint      generated always as identity,
    name        text        not null,
    version     text        not null,
    address     text,
    pid         integer     not null,
    duties      text[]      not null,
    slots       integer     not null default 0,
    busy        integer     not null default 0,
    beat        bigint      not null default 0,
    beat_at     timestamptz not null default now(),
    started_at  timestamptz not null default now(),
    ended_at    timestamptz,
    end_reason  text,
    settled     boolean     not null default false,

    constraint nodes_pk          primary key (incarnation),
    constraint nodes_end_reason  check (end_reason in ('stopped', 'lost', 'replaced')),
    constraint nodes_end_is_told check ((ended_at is null) = (end_reason is null))
);
--> statement-breakpoint
-- Serves the look at who lives; the ended ones are many in time.
create index nodes_living on belfry.nodes (name) where ended_at is null;
--> statement-breakpoint
-- Serves the settling of runs whose node has ended.
create index nodes_unsettled on belfry.nodes (incarnation) where ended_at is not null and not settled;
--> statement-breakpoint

-- What somebody wants run. Columns of the definition carry the words of config.toml, so that a row can be written by hand.
create table belfry.jobs (
    id                bigint      generated always as identity,
    name              text        not null,
    remark            text        not null default '',
    expr              text        not null,
    timezone          text,
    enabled           boolean     not null default true,
    command           jsonb       not null,
    retry             jsonb       not null default '{}',
    timeout_ms        bigint,
    log               boolean     not null default true,
    on_lost           text        not null default 'fail',
    overlap           text        not null default 'skip',
    misfire           text        not null default 'once',
    catchup_window_ms bigint,
    max_catchup       integer     not null default 100,

    -- Who owns it: a file (config_id says which), a request, or whoever wrote the row.
    source            text        not null default 'table',
    config_id         text,
    trace_id          text,

    -- revision counts edits: a tick worked out from an older one moves nothing.
    -- next_due_at empty: not worked out yet; ended_at: never due again; fault: why it was disabled.
    -- policy: retry, timeout and on_lost with every default filled in, as its runs will carry it.
    revision          integer     not null default 1,
    policy            jsonb,
    next_due_at       timestamptz,
    ended_at          timestamptz,
    fault             text,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    deleted_at        timestamptz,

    constraint jobs_pk              primary key (id),
    constraint jobs_name_length     check (length(name) between 1 and 200),
    constraint jobs_timeout         check (timeout_ms > 0),
    constraint jobs_on_lost         check (on_lost in ('fail', 'retry')),
    constraint jobs_overlap         check (overlap in ('skip', 'allow', 'wait', 'wait_all', 'replace')),
    constraint jobs_misfire         check (misfire in ('skip', 'once', 'all')),
    constraint jobs_catchup_window  check (catchup_window_ms >= 0),
    constraint jobs_max_catchup     check (max_catchup between 1 and 10000),
    constraint jobs_source          check (source in ('file', 'api', 'table')),
    constraint jobs_file_is_named   check ((source = 'file') = (config_id is not null))
);
--> statement-breakpoint
-- A name is taken by one living job; a deleted one gives it back.
create unique index jobs_name_once on belfry.jobs (name) where deleted_at is null;
--> statement-breakpoint
-- Serves the ticker: what is due, first of all what is not worked out yet.
create index jobs_due on belfry.jobs (next_due_at nulls first) where enabled and deleted_at is null and ended_at is null;
--> statement-breakpoint
-- Serves the file that owns jobs, at start.
create index jobs_of_file on belfry.jobs (config_id) where config_id is not null and deleted_at is null;
--> statement-breakpoint

-- An edit by plain SQL is an edit too: it counts as a revision, and its due time is worked out afresh.
create function belfry.job_edited() returns trigger language plpgsql as $$
begin
    if new.revision = old.revision then
        new.revision    := old.revision + 1;
        new.next_due_at := null;
        new.ended_at    := null;
        new.fault       := null;
        new.updated_at  := now();
    end if;
    return new;
end
$$;
--> statement-breakpoint
create trigger jobs_count_edits
    before update of name, expr, timezone, enabled, command, retry, timeout_ms, log, on_lost, overlap, misfire, catchup_window_ms, max_catchup
    on belfry.jobs for each row execute function belfry.job_edited();
--> statement-breakpoint
-- Wakes the tickers of all nodes, which look every second at the latest, for what is due before that.
create function belfry.job_due_soon() returns trigger language plpgsql as $$
begin
    notify belfry_jobs;
    return null;
end
$$;
--> statement-breakpoint
create trigger jobs_wake_tickers
    after insert or update of expr, timezone, enabled, revision
    on belfry.jobs for each row
    when (new.enabled and new.deleted_at is null and (new.next_due_at is null and new.ended_at is null or new.next_due_at < now() + interval '2 seconds'))
    execute function belfry.job_due_soon();
--> statement-breakpoint

-- One row a due time or a trigger; also when we decide not to run it (skipped, with its reason). It is written when the run is
-- made and when an attempt has ended, no more: what changes on the way stands in belfry.unfinished. No foreign key to jobs: every
-- row is made from its job's, jobs are never deleted but marked, and the check cost an eighth of a tick.
create table belfry.runs (
    id           bigint      generated always as identity,
    job_id       bigint      not null,
    job_name     text        not null,
    cause        text        not null default 'schedule',
    target       text        not null default '',
    due_at       timestamptz not null,

    -- A row may stand for a long row of missed due times, from due_at to last_due_at.
    last_due_at  timestamptz,
    due_count    integer     not null default 1,

    -- Its final state; empty as long as it has a row in belfry.unfinished.
    state        text,
    reason       text,

    -- What shall be done, as it was when it became due: an edit never changes what is queued.
    command      jsonb       not null,
    policy       jsonb       not null default '{}',
    overlap      text        not null default 'skip',
    catchup      boolean     not null default false,

    -- What became of it.
    node         text,
    failed_count integer     not null default 0,
    attempts     jsonb       not null default '[]',
    result       json,
    error        text,
    queued_at    timestamptz not null,
    started_at   timestamptz,
    finished_at  timestamptz,
    rerun_of     bigint,
    trace_id     text        not null,

    constraint runs_pk             primary key (id),
    constraint runs_cause          check (cause in ('schedule', 'manual', 'rerun', 'backfill', 'after')),
    constraint runs_final_state    check (state in ('succeeded', 'failed', 'cancelled', 'skipped')),
    constraint runs_final_is_ended check ((finished_at is null) = (state is null)),
    constraint runs_skip_is_told   check (state <> 'skipped' or reason is not null)
)
-- Room on each page for the row as it is at its end.
with (fillfactor = 60);
--> statement-breakpoint
-- A due time fires once, whoever ticks.
create unique index runs_due_once on belfry.runs (job_id, due_at, target) where cause = 'schedule';
--> statement-breakpoint
-- Serves the record of one job, newest first.
create index runs_of_job on belfry.runs (job_name, id);
--> statement-breakpoint
-- Serves the search for what did not go well.
create index runs_not_well on belfry.runs (state, id) where state in ('failed', 'cancelled', 'skipped');
--> statement-breakpoint
-- Serves the search by time at a fraction of a full index's cost: rows lie in order of their making.
create index runs_by_time on belfry.runs using brin (queued_at);
--> statement-breakpoint

-- One narrow row a run that is not at its end: where it is on its way and who holds it. It is made with the run and goes in the
-- statement that writes the run's final state.
create table belfry.unfinished (
    run_id     bigint      not null,
    job_id     bigint      not null,
    state      text        not null default 'queued',
    overlap    text        not null,

    -- Ready from when, after what is live, held back by another run, given to the queue when and how often.
    ready_at   timestamptz not null,
    catchup    boolean     not null default false,
    blocked    boolean     not null default false,
    sent_at    timestamptz,
    sends      integer     not null default 0,

    -- Who holds it. epoch grows with every claim: what an older holder still says is not believed.
    owner      bigint,
    node       text,
    epoch      integer     not null default 0,
    attempt    integer     not null default 0,
    started_at timestamptz,
    begun_at   timestamptz,
    cancel_at  timestamptz,

    constraint unfinished_pk              primary key (run_id),
    constraint unfinished_state           check (state in ('queued', 'running', 'retrying')),
    constraint unfinished_running_is_held check ((owner is not null) = (state = 'running'))
)
-- Room on each page, so that being sent touches no index; all rows change and go, so they are tidied often.
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
--> statement-breakpoint
-- Serves dispatch: what is ready, live before catch-up, oldest first.
create index unfinished_ready on belfry.unfinished (catchup, ready_at, run_id) where state in ('queued', 'retrying') and not blocked;
--> statement-breakpoint
-- Serves overlap: whether a job has a run that is not at its end.
create index unfinished_of_job on belfry.unfinished (job_id);
--> statement-breakpoint
-- Serves what waits for another run of its job.
create index unfinished_blocked on belfry.unfinished (job_id, run_id) where blocked;
--> statement-breakpoint
-- Serves the search for what shall be cancelled and has not been.
create index unfinished_to_cancel on belfry.unfinished (run_id) where cancel_at is not null;
--> statement-breakpoint

-- Runs as people see them, wherever they are.
create view belfry.records as
    select r.id, r.job_id, r.job_name, r.cause, r.target, r.due_at, r.last_due_at, r.due_count,
           coalesce(r.state, u.state) as state, r.reason, r.command, r.policy, r.catchup,
           coalesce(u.node, r.node) as node, coalesce(u.attempt, jsonb_array_length(r.attempts)) as attempt,
           r.failed_count, r.attempts, r.result, r.error, r.queued_at, coalesce(r.started_at, u.started_at) as started_at,
           r.finished_at, r.rerun_of, r.trace_id, u.ready_at
      from belfry.runs r left join belfry.unfinished u on u.run_id = r.id;
--> statement-breakpoint

-- Claims what is wanted and may run now; what another run of its job holds back is skipped or waits, as its overlap says.
-- Two statements, and so two snapshots: the first locks the jobs that mind, so that the second sees what others claimed.
create function belfry.claim_runs(wanted bigint[], claimant bigint, claimant_name text, at timestamptz)
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
         where u.run_id = any (wanted) and u.state in ('queued', 'retrying') and not u.blocked and u.cancel_at is null and u.ready_at <= at
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
