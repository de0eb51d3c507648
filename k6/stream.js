// Streamed chat completions under load: each stream is read straight from the simulated provider and through Clyra,
// one after the other, and what counts is how much later it begins and ends.

import http from 'k6/http';
import { check } from 'k6';
import { Trend } from 'k6/metrics';

const CLYRA_URL = __ENV.CLYRA_URL || 'http://127.0.0.1:8080';
const SIMULATOR_URL = __ENV.SIMULATOR_URL || 'http://127.0.0.1:8081';
const STREAMS_AT_ONCE = Number(__ENV.STREAMS || 20);
const DURATION = __ENV.DURATION || '30s';

const CHUNKS = 100;
const CHUNK_DELAY_MS = 20;
const CHUNK_TEXT = 'open invoices. ';

// Milliseconds by which the first and the last byte come later through Clyra.
const firstByteLater = new Trend('clyra_first_byte_later', true);
const lastByteLater = new Trend('clyra_last_byte_later', true);

export const options = {
  scenarios: {
    streams: { executor: 'constant-vus', vus: STREAMS_AT_ONCE, duration: DURATION },
  },
  thresholds: {
    // One chunk may pass before the first is released, and one receipt is put on disk before it.
    clyra_first_byte_later: [`p(95)<${CHUNK_DELAY_MS + 25}`],
    // The cadence is kept: a delay per chunk would show here a hundredfold.
    clyra_last_byte_later: ['p(95)<75'],
    checks: ['rate==1'],
  },
};

const DIRECTIVE = {
  content: CHUNK_TEXT.repeat(CHUNKS),
  split: CHUNK_TEXT.length,
  delay_ms: CHUNK_DELAY_MS,
};
const BODY = JSON.stringify({
  model: 'sim',
  stream: true,
  messages: [{ role: 'user', content: `!sim ${JSON.stringify(DIRECTIVE)}` }],
});
const PARAMS = {
  headers: { 'content-type': 'application/json', authorization: 'Bearer not-a-key' },
  timeout: '30s',
};

export default function () {
  const direct = http.post(`${SIMULATOR_URL}/v1/chat/completions`, BODY, PARAMS);
  const through = http.post(`${CLYRA_URL}/v1/chat/completions`, BODY, PARAMS);
  firstByteLater.add(through.timings.waiting - direct.timings.waiting);
  lastByteLater.add(through.timings.duration - direct.timings.duration);
  check(through, {
    'the stream is answered': (r) => r.status === 200,
    'it is whole': (r) => r.body.trimEnd().endsWith('data: [DONE]'),
  });
}
