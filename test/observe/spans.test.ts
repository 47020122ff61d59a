// Who registers a provider of OpenTelemetry sees a span of each request, in the trace that its answer names.

import assert from 'node:assert/strict';
import test from 'node:test';
import { INVALID_SPAN_CONTEXT, trace, TraceFlags, type Context, type Span, type SpanOptions, type SpanStatus } from '@opentelemetry/api';
import { beginWork } from '../../src/observe/tracing.ts';
import { openTestDoors } from '../support/doors.ts';

type Seen = { name: string; traceId: string; attributes: SpanOptions['attributes']; status?: SpanStatus; ended: boolean };

const seen: Seen[] = [];
const doors = await openTestDoors(test);
const before = await doors.ask('/ping');

/** The least that a provider has to be: it writes down what it is told. */
trace.setGlobalTracerProvider({
  getTracer: () => ({
    startSpan: (name: string, options: SpanOptions = {}, context?: Context): Span => {
      const { traceId } = (context && trace.getSpanContext(context)) ?? INVALID_SPAN_CONTEXT;
      const told: Seen = { name, traceId, attributes: options.attributes, ended: false };
      seen.push(told);
      const span: Span = {
        spanContext: () => ({ traceId, spanId: `00000000000000${10 + seen.length}`, traceFlags: TraceFlags.SAMPLED }),
        setAttribute: () => span,
        setAttributes: () => span,
        addEvent: () => span,
        addLink: () => span,
        addLinks: () => span,
        updateName: () => span,
        recordException: () => undefined,
        isRecording: () => true,
        setStatus: (status) => {
          told.status = status;
          return span;
        },
        end: () => {
          told.ended = true;
        },
      };
      return span;
    },
    startActiveSpan: () => {
      throw new Error('nobody asks for that');
    },
  }),
});

test('a request is a span in its trace, and the answer names it', async () => {
  assert.ok(before.headers.has('traceparent'));
  const answer = await doors.ask('/v1/jobs', undefined, { method: 'GET' });
  const traceId = answer.headers.get('x-trace-id');
  assert.equal(answer.headers.get('traceparent'), `00-${traceId}-0000000000000011-01`);
  assert.deepEqual(seen, [{ name: 'request', traceId, attributes: { 'http.request.method': 'GET', 'url.path': '/v1/jobs' }, ended: true }]);
});

test('a request that fails for a fault of ours is a span with an error, one that is refused is not', async () => {
  await doors.database.sql`drop schema belfry cascade`;
  await doors.ask('/listJobRecord');
  assert.deepEqual(seen.at(-1)?.status, { code: 2, message: 'status 500' });
  await doors.ask('/listJobRecord', '[');
  assert.equal(seen.at(-1)?.status, undefined);
});

test('work that came to nothing says why', () => {
  const work = beginWork('attempt', '4bf92f3577b34da6a3ce929d0e0e4736', { 'belfry.job': 'x' });
  work.end('exit status 3');
  const last = seen.at(-1);
  assert.deepEqual([last?.name, last?.status, last?.ended], ['attempt', { code: 2, message: 'exit status 3' }, true]);
});
