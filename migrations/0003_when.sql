-- More of what a job may say about when it runs, and pausing it.

-- expr may hold several expressions, one a line. blackouts are the job's `except` (a word that SQL has for itself).
-- paused_at: its due times are written down as skipped and not run; paused by hand or after so many failures in a row.
alter table belfry.jobs
    add column blackouts            text[]  not null default '{}',
    add column starts_at            timestamptz,
    add column ends_at              timestamptz,
    add column max_runs             integer,
    add column spread_ms            bigint,
    add column pause_after_failures integer,
    add column paused_at            timestamptz,
    add column pause_note           text,
    add constraint jobs_max_runs    check (max_runs > 0),
    add constraint jobs_spread      check (spread_ms >= 0),
    add constraint jobs_pause_after check (pause_after_failures > 0),
    add constraint jobs_pause_note  check (pause_note is null or paused_at is not null);
--> statement-breakpoint
-- How many runs were fired since the last edit; max_runs goes by it.
alter table belfry.cursors add column fired integer not null default 0;
--> statement-breakpoint
drop trigger jobs_count_edits on belfry.jobs;
--> statement-breakpoint
create trigger jobs_count_edits
    before update of name, expr, timezone, enabled, command, retry, timeout_ms, log, on_lost, overlap, misfire, catchup_window_ms, max_catchup,
                     blackouts, starts_at, ends_at, max_runs, spread_ms, pause_after_failures
    on belfry.jobs for each row execute function belfry.job_edited();
