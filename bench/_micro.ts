import pg from 'pg';
import { startServers } from './support/servers.ts';
const s = await startServers();
const c = new pg.Client({ connectionString: s.databaseUrl }); await c.connect();
const n = 400;
const recs = Array.from({length:n},(_, i)=>({id:100000+i,epoch:1,state:'succeeded',finishedAt:new Date().toISOString(),failed:false,note:{attempt:1,node:'bench',started_at:new Date().toISOString(),finished_at:new Date().toISOString(),outcome:'succeeded'},result:{}}));
async function t(label: string, q: string, v: unknown[]) { await c.query({name:label,text:q,values:v}); const b=performance.now(); for (let i=0;i<50;i++) await c.query({name:label,text:q,values:v}); console.log(label, ((performance.now()-b)/50*1000/n).toFixed(2),'us/row'); }
await t('json recordset', `select count(*) from json_to_recordset($1::text::json) as t("id" bigint, "epoch" integer, "state" text, "reason" text, "readyAt" timestamptz, "finishedAt" timestamptz, "failed" boolean, "note" jsonb, "result" json, "error" text)`, [JSON.stringify(recs)]);
await t('json recordset no note/res', `select count(*) from json_to_recordset($1::text::json) as t("id" bigint, "epoch" integer, "state" text, "reason" text, "readyAt" timestamptz, "finishedAt" timestamptz, "failed" boolean, "error" text)`, [JSON.stringify(recs)]);
const arr=(a: unknown[])=>'{'+a.map(x=>x==null?'NULL':typeof x==='number'||typeof x==='boolean'?String(x):'"'+String(x).replace(/(["\\])/g,'\\$1')+'"').join(',')+'}';
const cols=()=>[arr(recs.map(r=>r.id)),arr(recs.map(r=>r.epoch)),arr(recs.map(r=>r.state)),arr(recs.map(r=>null)),arr(recs.map(r=>null)),arr(recs.map(r=>Date.parse(r.finishedAt))),arr(recs.map(r=>r.failed)),arr(recs.map(r=>JSON.stringify(r.note))),arr(recs.map(r=>JSON.stringify(r.result))),arr(recs.map(()=>null))];
await t('unnest', `select count(*), count(to_timestamp(e/1000)), count(h::jsonb), count(i::json) from unnest($1::bigint[],$2::integer[],$3::text[],$4::text[],$5::float8[],$6::float8[],$7::boolean[],$8::text[],$9::text[],$10::text[]) as t(a,b,c,d,e,f,g,h,i,j)`, cols());
await t('unnest no cast', `select count(*) from unnest($1::bigint[],$2::integer[],$3::text[],$4::text[],$5::float8[],$6::float8[],$7::boolean[],$8::text[],$9::text[],$10::text[]) as t(a,b,c,d,e,f,g,h,i,j)`, cols());
await t('unnest json', `select count(*), count(h), count(i) from unnest($1::bigint[],$2::integer[],$3::text[],$4::text[],$5::float8[],$6::float8[],$7::boolean[],$8::json[],$9::json[],$10::text[]) as t(a,b,c,d,e,f,g,h,i,j)`, cols());
await t('just ids', `select count(*) from unnest($1::bigint[]) as t(a)`, [arr(recs.map(r=>r.id))]);
await t('moves json', `select count(*) from json_to_recordset($1::text::json) as t("jobId" bigint, "revision" integer, "seen" timestamptz, "next" timestamptz)`, [JSON.stringify(recs.map(r=>({jobId:r.id,revision:1,seen:new Date(),next:new Date()})))]);
await t('moves unnest', `select count(*), count(to_timestamp(c/1000)), count(to_timestamp(d/1000)) from unnest($1::bigint[],$2::integer[],$3::float8[],$4::float8[]) as t(a,b,c,d)`, [arr(recs.map(r=>r.id)),arr(recs.map(r=>1)),arr(recs.map(r=>Date.now())),arr(recs.map(r=>Date.now()))]);
await t('to_jsonb append', `select count('[]'::jsonb || h::jsonb) from unnest($1::text[]) as t(h)`, [arr(recs.map(r=>JSON.stringify(r.note)))]);
await c.end(); await s.stop();
