// Trace ids: from the request that made a job to every line about its runs and to the command itself (W3C Trace Context).
// Spans go through @opentelemetry/api: who registers an SDK in front of Belfry sees them, else they cost nothing.

import { randomBytes } from 'node:crypto';
import { isValidTraceId, ProxyTracer, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from '@opentelemetry/api';

/** A new trace id: 32 lower-case hex digits, never all zero. */
export function newTraceId(): string {
  return nonZeroHex(16);
}

function newSpanId(): string {
  return nonZeroHex(8);
}

/** The trace id of a `traceparent` header, or undefined when there is none or it is not of the form of W3C Trace Context. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  const found = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/.exec(traceparent?.trim() ?? '');
  if (!found || found[1] === 'ff' || (found[1] === '00' && found[4] !== undefined)) return undefined;
  const [, , traceId = '', parentId = ''] = found;
  return isValidTraceId(traceId) && !/^0+$/.test(parentId) ? traceId : undefined;
}

/** A piece of work in a trace: what goes out as `traceparent`, and the span to be ended. */
export type Work = { readonly traceparent: string; readonly end: (fault?: string) => void };

/** Begins a span named `name` in the trace `traceId`. */
export function beginWork(name: string, traceId: string, attributes: Record<string, string | number>): Work {
  const parentId = newSpanId();
  const tracer = trace.getTracer('belfry');
  // It stands in as long as no SDK is registered: nobody sees the span then.
  if (tracer instanceof ProxyTracer) return { traceparent: traceparentOf(traceId, parentId), end: () => {} };
  const parent = trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId: parentId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
  const span = tracer.startSpan(name, { kind: SpanKind.INTERNAL, attributes }, parent);
  return {
    traceparent: traceparentOf(traceId, span.spanContext().spanId),
    end: (fault) => {
      if (fault !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: fault });
      span.end();
    },
  };
}

function traceparentOf(traceId: string, spanId: string): string {
  return `00-${traceId}-${spanId}-01`;
}

// Random bytes are fetched by the page: asking for eight at a time costs more than all that is done with them.
let page = Buffer.alloc(0);
let used = 0;

function nonZeroHex(bytes: number): string {
  if (used + bytes > page.length) {
    page = randomBytes(4096);
    used = 0;
  }
  const made = page.toString('hex', used, used + bytes);
  used += bytes;
  return /^0+$/.test(made) ? nonZeroHex(bytes) : made;
}
