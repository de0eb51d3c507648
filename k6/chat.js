// Plain chat completions under load: each request is sent straight to the simulated provider and through Clyra, one
// after the other, and what counts is the difference. A second scenario checks that what must be blocked still is.

import http from 'k6/http';
import { check } from 'k6';
import { Trend } from 'k6/metrics';

const CLYRA_URL = __ENV.CLYRA_URL || 'http://127.0.0.1:8080';
const SIMULATOR_URL = __ENV.SIMULATOR_URL || 'http://127.0.0.1:8081';
const REQUESTS_PER_SECOND = Number(__ENV.RATE || 50);
const DURATION = __ENV.DURATION || '30s';

// Milliseconds that Clyra adds to a request.
const added = new Trend('clyra_added', true);

export const options = {
  scenarios: {
    allowed: {
      executor: 'constant-arrival-rate',
      exec: 'allowed',
      rate: REQUESTS_PER_SECOND,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: 50,
      maxVUs: 200,
    },
    blocked: {
      executor: 'constant-arrival-rate',
      exec: 'blocked',
      rate: 5,
      timeUnit: '1s',
      duration: DURATION,
      preAllocatedVUs: 10,
      maxVUs: 50,
    },
  },
  thresholds: {
    // Two receipts are put on disk for each exchange, one before the answer begins and one before it ends; the budget
    // leaves ten milliseconds for each sync.
    clyra_added: ['p(50)<10', 'p(95)<25', 'p(99)<50'],
    // A firewall under load may be slow; it may not be wrong.
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
  },
};

function body(text) {
  return JSON.stringify({
    model: 'sim',
    messages: [
      { role: 'system', content: 'You answer questions about invoices.' },
      { role: 'user', content: text },
    ],
  });
}

const PARAMS = { headers: { 'content-type': 'application/json', authorization: 'Bearer not-a-key' } };
const ALLOWED = body('Which invoices of last month are still open, and since when?');
const BLOCKED = body('What is Project Nightjar?');

export function allowed() {
  const direct = http.post(`${SIMULATOR_URL}/v1/chat/completions`, ALLOWED, PARAMS);
  const through = http.post(`${CLYRA_URL}/v1/chat/completions`, ALLOWED, PARAMS);
  added.add(through.timings.duration - direct.timings.duration);
  check(through, {
    'an allowed request is answered': (r) => r.status === 200,
    'it is allowed': (r) => r.headers['X-Clyra-Decision'] === 'allow',
  });
}

export function blocked() {
  const through = http.post(`${CLYRA_URL}/v1/chat/completions`, BLOCKED, PARAMS);
  check(through, {
    'a forbidden request is refused': (r) => r.status === 400,
    'it is not worth a retry': (r) => r.headers['X-Should-Retry'] === 'false',
  });
}
