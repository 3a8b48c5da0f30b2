// One day of one project by posthog-node, driven as Langfuse's own worker drives it: a row at a
// time into `capture`, `await flush()` every 1,000 events, one stream after the other. Generous
// where it can be: one hash join a stream, behind a server-side cursor that reads the next rows
// while events are sent; rows as arrays; batches as large as the flushes.
//
// Says "ready" when it is connected, begins when a line arrives, says "done" with the number of
// events, ends when standard input does.

import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import pg from 'pg';
import Cursor from 'pg-cursor';
import { PostHog } from 'posthog-node';

const FLUSH_EVERY = 1000;
const NAMESPACE = Buffer.from('0f6c91dfd0354813b8389741ba38ef0b', 'hex');
const { DATABASE_URL, POSTHOG_HOST, POSTHOG_KEY, PROJECT, DAY, LANGFUSE_URL } = process.env;
const BASE = `${LANGFUSE_URL}/project/${encodeURIComponent(PROJECT)}`;

const TRACE = `t.name, t.user_id, t.session_id, t.release, t.tags,
  case when jsonb_typeof(t.metadata -> '$posthog_distinct_id') in ('string', 'number') then t.metadata ->> '$posthog_distinct_id' end,
  case when jsonb_typeof(t.metadata -> '$posthog_session_id') in ('string', 'number') then t.metadata ->> '$posthog_session_id' end`;

const SECONDS = (from, to) => `extract(epoch from ${to} - ${from})::float8`;

// The first nine columns of every stream are the same.
const STREAMS = [
  {
    // The hour on either side holds every observation of the day's traces.
    sql: `select t.id, t.timestamp, ${TRACE}, t.version, coalesce(a.number, 0)::integer, ${SECONDS('a.earliest', 'a.latest')}, a.cost
      from traces t left join (
        select trace_id, count(*) as number, min(start_time) as earliest, max(greatest(start_time, end_time)) as latest,
          sum(coalesce(calculated_total_cost, total_cost))::float8 as cost
        from observations where project_id = $1 and start_time >= $2::timestamp - interval '1 hour'
          and start_time < $2::timestamp + interval '25 hours'
        group by trace_id) a on a.trace_id = t.id
      where t.project_id = $1 and t.timestamp >= $2::timestamp and t.timestamp < $2::timestamp + interval '1 day'`,
    event: 'langfuse trace',
    properties: (row) => ({
      langfuse_url: `${BASE}/traces/${encodeURIComponent(row[0])}`,
      langfuse_version: row[9],
      langfuse_count_observations: row[10],
      langfuse_latency: row[11],
      langfuse_cost_usd: row[12],
    }),
  },
  {
    sql: `select o.id, o.start_time, ${TRACE}, o.trace_id, o.name, o.version, o.model, o.level, o.unit, o.prompt_tokens,
        o.completion_tokens, o.total_tokens, coalesce(o.calculated_total_cost, o.total_cost)::float8,
        ${SECONDS('o.start_time', 'o.end_time')}, ${SECONDS('o.start_time', 'o.completion_start_time')}
      from observations o left join traces t on t.id = o.trace_id and t.project_id = o.project_id
      where o.project_id = $1 and o.type = 'GENERATION' and o.start_time >= $2::timestamp
        and o.start_time < $2::timestamp + interval '1 day'`,
    event: 'langfuse generation',
    properties: (row) => ({
      langfuse_trace_id: row[9],
      langfuse_generation_name: row[10],
      langfuse_url: `${BASE}/traces/${encodeURIComponent(row[9])}?observation=${encodeURIComponent(row[0])}`,
      langfuse_version: row[11],
      langfuse_model: row[12],
      langfuse_level: row[13],
      langfuse_unit: row[14],
      langfuse_input_units: row[15],
      langfuse_output_units: row[16],
      langfuse_total_units: row[17],
      langfuse_cost_usd: row[18],
      langfuse_latency: row[19],
      langfuse_time_to_first_token: row[20],
    }),
  },
  {
    sql: `select s.id, s.timestamp, ${TRACE}, s.trace_id, s.name, s.value, s.string_value, s.data_type, s.comment,
        s.source, s.observation_id
      from scores s left join traces t on t.id = s.trace_id and t.project_id = s.project_id
      where s.project_id = $1 and s.timestamp >= $2::timestamp and s.timestamp < $2::timestamp + interval '1 day'`,
    event: 'langfuse score',
    properties: (row) => ({
      langfuse_trace_id: row[9],
      langfuse_score_name: row[10],
      langfuse_score_value: row[11],
      langfuse_score_string_value: row[12],
      langfuse_score_data_type: row[13],
      langfuse_score_comment: row[14],
      langfuse_score_source: row[15],
      langfuse_observation_id: row[16],
    }),
  },
];

function uuidOf(rowId) {
  const hash = createHash('sha1').update(NAMESPACE).update(`${PROJECT}-${rowId}`).digest();
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  const hex = hash.toString('hex', 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

let projectName;

const filled = (text) => (text !== null && text.trim() !== '' ? text : null);

function eventOf(stream, row) {
  const [id, time, traceName, userId, sessionId, release, tags, posthogDistinctId, posthogSessionId] = row;
  const uuid = uuidOf(id);
  const [user, person, session] = [filled(userId), filled(posthogDistinctId), filled(posthogSessionId)];
  const properties = stream.properties(row);
  if (session) properties.$session_id = session;
  if (user) properties.$set = { langfuse_user_url: `${BASE}/users/${encodeURIComponent(user)}` };
  if (!user && !person) properties.$process_person_profile = false;
  properties.langfuse_id = id;
  properties.langfuse_project_id = PROJECT;
  properties.langfuse_project_name = projectName;
  properties.langfuse_trace_name = traceName;
  properties.langfuse_user_id = user ?? 'langfuse_unknown_user';
  properties.langfuse_session_id = sessionId;
  properties.langfuse_release = release;
  properties.langfuse_tags = tags;
  properties.langfuse_integration_version = '1.1.0';
  return { event: stream.event, uuid, distinctId: person ?? user ?? uuid, timestamp: time, properties };
}

// What pg does by itself with a `timestamp` takes longer, and depends on the time zone.
pg.types.setTypeParser(pg.types.builtins.TIMESTAMP, (text) => new Date(`${text.replace(' ', 'T')}Z`));
const database = new pg.Client({ connectionString: DATABASE_URL });
const posthog = new PostHog(POSTHOG_KEY, {
  host: POSTHOG_HOST,
  flushAt: FLUSH_EVERY,
  maxBatchSize: FLUSH_EVERY,
  maxQueueSize: 10 * FLUSH_EVERY,
  flushInterval: 0,
});
posthog.on('error', (error) => {
  console.error(error);
  process.exit(1);
});

async function exportStream(stream) {
  const cursor = database.query(new Cursor(stream.sql, [PROJECT, DAY], { rowMode: 'array' }));
  let events = 0;
  let next = cursor.read(FLUSH_EVERY);
  for (;;) {
    const rows = await next;
    if (rows.length === 0) return events;
    next = cursor.read(FLUSH_EVERY);
    for (const row of rows) posthog.capture(eventOf(stream, row));
    await posthog.flush();
    events += rows.length;
  }
}

await database.connect();
console.log('ready');
const commands = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
await commands.next();
const named = await database.query('select name from projects where id = $1', [PROJECT]);
projectName = named.rows[0].name;
let events = 0;
for (const stream of STREAMS) events += await exportStream(stream);
console.log(`done ${events}`);
await commands.next();
await posthog.shutdown();
await database.end();
