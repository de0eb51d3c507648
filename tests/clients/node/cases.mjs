// What every SDK has to show, whatever it speaks, and how its cases are run.
//
// A case gets the class of an SDK and the address, and throws a Failure where something is not as it should be.

import { isDeepStrictEqual } from 'node:util';

export const CASE_MS_MAX = 10_000;
const PHRASE = 'Project Nightjar';
const SECRET = 'AKIAIOSFODNN7EXAMPLE';
const REPLACEMENT = '[REDACTED:secret]';
// The policy has one rule per phase; the names of all three begin like this.
const RULE = 'no-nightjar';
const TOOL_ARGUMENTS = { city: 'Zürich', days: 3, note: 'a "quoted" word' };
export const TOOL_SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer' }, note: { type: 'string' } },
};

const FORM_SCHEMA = {
  type: 'object',
  properties: { note: { type: 'string' }, total: { type: 'integer' } },
  required: ['note', 'total'],
  additionalProperties: false,
};

/** A directive for the simulated provider, encoded so that none of its words stands in the request. */
function directive(keys) {
  return `!sim64 ${Buffer.from(JSON.stringify(keys)).toString('base64')}`;
}

export class Failure extends Error {}

export function check(holds, otherwise) {
  if (!holds) throw new Failure(otherwise);
}

function shown(value) {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 300);
}

export function equal(actual, expected, what) {
  check(isDeepStrictEqual(actual, expected), `${what} is ${shown(actual)}, not ${shown(expected)}`);
}

/** What an SDK made of an answer. */
export function emptyAnswer() {
  return { text: '', deltas: 0, tools: [], finish: null };
}

/** A fetch that counts: every attempt of an SDK, retries included, is one call. */
export function counting(client) {
  return (...request) => {
    client.calls += 1;
    return fetch(...request);
  };
}

/** What the cases ask of an SDK; as it is, it fits those of OpenAI and Anthropic. */
export class Sdk {
  // Whether an error event of the provider's own in a stream raises an exception.
  static raisesErrorsInStreams = true;

  // Names of cases that the SDK has no way to express, each with its reason beside it.
  static without = [];

  static kind(name) {
    return this.errors[name];
  }

  static isKind(error, kind) {
    return error.constructor === kind;
  }

  /** What a stream raises that was under way. */
  static isErrorInStream(error) {
    return error instanceof this.errors.APIError;
  }

  static status(error) {
    return error.status;
  }

  static header(error, name) {
    return error.headers.get(name);
  }
}

/** The exception that the call raises, which must be of exactly the class that this name stands for. */
async function raised(Sdk, name, call) {
  const kind = Sdk.kind(name);
  let answer;
  try {
    answer = await call();
  } catch (error) {
    check(Sdk.isKind(error, kind), `raised ${error.constructor.name}, not ${kind.name}: ${error.message}`);
    return error;
  }
  throw new Failure(`no exception; the answer is ${shown(answer.text)}`);
}

/** A block is said once, in words that help, without what was blocked. */
function checkBlock(Sdk, client, error) {
  equal(client.calls, 1, 'the number of requests');
  const message = Sdk.errorMessage(error);
  const requestId = Sdk.header(error, 'x-clyra-request-id');
  check(requestId, 'the answer has no x-clyra-request-id');
  check(message.includes(RULE), `the message does not name ${RULE}: ${message}`);
  check(message.includes(requestId), `the message does not name request ${requestId}: ${message}`);
  check(error.message.includes(RULE), `the exception does not print ${RULE}: ${error.message}`);
  for (const said of [error.message, JSON.stringify(error.error ?? '')]) {
    check(!said.toLowerCase().includes(PHRASE.toLowerCase()), 'the message repeats the forbidden phrase');
  }
  equal(Sdk.header(error, 'x-clyra-decision'), 'block', 'x-clyra-decision');
  equal(Sdk.header(error, 'x-should-retry'), 'false', 'x-should-retry');
}

async function plain(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const answer = await client.ask(`Tell me about foxes.\n${directive({ content: 'Füchse 🦊 are red.' })}`);
  equal(answer.text, 'Füchse 🦊 are red.', 'the text');
  equal(answer.finish, Sdk.finish.text, 'the reason to finish');
  equal(client.calls, 1, 'the number of requests');
}

async function streamed(Sdk, baseUrl) {
  const text = 'Füchse 🦊 are red, and some of them are grey.';
  const ask = `Tell me about foxes.\n${directive({ content: text, split: 3, delay_ms: 2 })}`;
  const answer = await new Sdk(baseUrl).stream(ask);
  equal(answer.text, text, 'the text');
  check(answer.deltas > 1, 'the text came in one piece');
  equal(answer.finish, Sdk.finish.text, 'the reason to finish');
}

async function tools(Sdk, baseUrl, way) {
  const call = { name: 'weather', arguments: JSON.stringify(TOOL_ARGUMENTS) };
  const ask = `How is the weather?\n${directive({ tool: [call, call], split: 2 })}`;
  const answer = await new Sdk(baseUrl)[way](ask, { tools: true });
  equal(answer.tools, [['weather', TOOL_ARGUMENTS], ['weather', TOOL_ARGUMENTS]], 'the tool calls');
  equal(answer.finish, Sdk.finish.tools, 'the reason to finish');
}

async function providerError(Sdk, baseUrl, status, kind) {
  const client = new Sdk(baseUrl, { maxRetries: 0 });
  for (const way of ['ask', 'stream']) {
    const words = `Simulated trouble ${status} with Füchsen.`;
    const error = await raised(Sdk, kind, () => client[way](directive({ status, content: words })));
    equal(Sdk.status(error), status, 'the status');
    equal(Sdk.errorMessage(error), words, 'the message');
    equal(Sdk.errorType(error), Sdk.errorTypes[status], 'the type');
  }
}

async function providerErrorInStream(Sdk, baseUrl) {
  const partial = emptyAnswer();
  const ask = directive({ content: 'So far so good.', error_event: true });
  let answer;
  try {
    answer = await new Sdk(baseUrl).stream(ask, {}, partial);
  } catch (error) {
    check(Sdk.isErrorInStream(error), `raised ${error.constructor.name}: ${error.message}`);
    check(Sdk.raisesErrorsInStreams, 'an exception where the event was expected');
    equal(partial.text, 'So far so good.', 'the text before the error');
    return;
  }
  if (!Sdk.raisesErrorsInStreams) {
    equal([answer.text, answer.finish], ['So far so good.', 'error'], 'the text and its end');
    return;
  }
  throw new Failure(`no exception; the answer is ${shown(partial.text)}`);
}

async function systemPrompt(Sdk, baseUrl) {
  const system = 'You are terse, like Füchse.';
  const answer = await new Sdk(baseUrl).ask(directive({ echo_system: true }), { system });
  equal(answer.text, system, 'the system prompt as the provider received it');
}

async function largeRequest(Sdk, baseUrl) {
  const sentence = 'The quick brown fox jumps over the lazy dog. ';
  const text = sentence.repeat((1024 * 1024) / sentence.length);
  const answer = await new Sdk(baseUrl).ask(`${text}\n${directive({ echo: true })}`);
  check(answer.text === text, `the provider did not receive what was sent (${answer.text.length} characters)`);
}

async function requestBlock(Sdk, baseUrl, way) {
  const client = new Sdk(baseUrl);
  const error = await raised(Sdk, 'BadRequestError', () => client[way](`What became of ${PHRASE}?`));
  checkBlock(Sdk, client, error);
}

async function systemBlock(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const system = `You work for ${PHRASE}.`;
  checkBlock(Sdk, client, await raised(Sdk, 'BadRequestError', () => client.ask('Hello', { system })));
}

async function responseBlock(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const ask = directive({ content: `It is called ${PHRASE}, of course.` });
  checkBlock(Sdk, client, await raised(Sdk, 'BadRequestError', () => client.ask(ask)));
}

async function toolBlock(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const ask = directive({ tool: [{ name: 'weather', arguments: JSON.stringify({ city: PHRASE }) }] });
  checkBlock(Sdk, client, await raised(Sdk, 'BadRequestError', () => client.ask(ask, { tools: true })));
}

async function blockInStream(Sdk, baseUrl) {
  const before = 'These words are harmless and may be read by anybody. '.repeat(6);
  const content = `${before}It is called ${PHRASE}, of course. ${before}`;
  const client = new Sdk(baseUrl);
  const partial = emptyAnswer();
  try {
    await client.stream(directive({ content, split: 4, delay_ms: 2 }), {}, partial);
  } catch (error) {
    check(Sdk.isErrorInStream(error), `raised ${error.constructor.name}: ${error.message}`);
    equal(client.calls, 1, 'the number of requests');
    check(error.message.includes(RULE), `the exception does not name ${RULE}: ${error.message}`);
    check(!error.message.toLowerCase().includes(PHRASE.toLowerCase()), 'the message repeats the forbidden phrase');
    check(partial.text !== '', 'nothing was streamed before the block');
    const allowed = `${before}It is called `;
    check(allowed.startsWith(partial.text), `part of the match came through: ${shown(partial.text.slice(-30))}`);
    return;
  }
  throw new Failure(`no exception; the answer ends in ${shown(partial.text.slice(-60))}`);
}

async function schemaViolationInStream(Sdk, baseUrl) {
  const note = 'These words are harmless and may be read by anybody. '.repeat(6);
  const ask = directive({ content: JSON.stringify({ note, total: 'behind' }), split: 4, delay_ms: 2 });
  const client = new Sdk(baseUrl);
  const partial = emptyAnswer();
  try {
    await client.stream(ask, { schema: FORM_SCHEMA }, partial);
  } catch (error) {
    check(Sdk.isErrorInStream(error), `raised ${error.constructor.name}: ${error.message}`);
    equal(client.calls, 1, 'the number of requests');
    check(error.message.includes('schema_violation'), `the exception does not say what is wrong: ${error.message}`);
    check(partial.text.includes('harmless'), 'nothing was streamed before the block');
    check(!(partial.text + error.message).includes('behind'), 'the broken value came through');
    return;
  }
  throw new Failure(`no exception; the answer ends in ${shown(partial.text.slice(-60))}`);
}

async function schemaKeptInStream(Sdk, baseUrl) {
  const form = { note: 'These words are harmless. '.repeat(6), total: 7 };
  const ask = directive({ content: JSON.stringify(form), split: 4 });
  const answer = await new Sdk(baseUrl).stream(ask, { schema: FORM_SCHEMA });
  equal(JSON.parse(answer.text), form, 'the document');
  check(answer.deltas > 3, `it came in ${answer.deltas} pieces`);
}

async function redactionInRequest(Sdk, baseUrl, way) {
  const ask = `My key is ${SECRET}, keep it.\n${directive({ echo_reversed: true })}`;
  const { text } = await new Sdk(baseUrl)[way](ask);
  equal([...text].reverse().join(''), `My key is ${REPLACEMENT}, keep it.`, 'what the provider received');
}

async function redactionInResponse(Sdk, baseUrl, way) {
  const answer = await new Sdk(baseUrl)[way](directive({ content: `The key is ${SECRET}, keep it.`, split: 1 }));
  equal(answer.text, `The key is ${REPLACEMENT}, keep it.`, 'the text');
  equal(answer.finish, Sdk.finish.text, 'the reason to finish');
}

const CLEAN_CASES = {
  plain,
  streamed,
  'tools plain': (...to) => tools(...to, 'ask'),
  'tools streamed': (...to) => tools(...to, 'stream'),
  'provider error 429': (...to) => providerError(...to, 429, 'RateLimitError'),
  'provider error 500': (...to) => providerError(...to, 500, 'InternalServerError'),
  'provider error in a stream': providerErrorInStream,
  'system prompt': systemPrompt,
  'large request': largeRequest,
};

const POLICY_CASES = {
  'request block': (...to) => requestBlock(...to, 'ask'),
  'request block, streamed': (...to) => requestBlock(...to, 'stream'),
  'system prompt block': systemBlock,
  'response block': responseBlock,
  'tool call block': toolBlock,
  'block in a stream': blockInStream,
  'schema violation in a stream': schemaViolationInStream,
  'schema kept in a stream': schemaKeptInStream,
  'redaction in the request': (...to) => redactionInRequest(...to, 'ask'),
  'redaction in the request, streamed': (...to) => redactionInRequest(...to, 'stream'),
  'redaction in the response': (...to) => redactionInResponse(...to, 'ask'),
  'redaction in the response, streamed': (...to) => redactionInResponse(...to, 'stream'),
};

/** The outcome of a case; one that does not come back in time has hung, and has failed. */
async function run(attempt, Sdk, baseUrl) {
  const begun = performance.now();
  let timer;
  const hung = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure(`hung: no end after ${CASE_MS_MAX / 1000} s`)), CASE_MS_MAX);
  });
  try {
    await Promise.race([attempt(Sdk, baseUrl), hung]);
    return { ok: true, detail: `${((performance.now() - begun) / 1000).toFixed(2)} s` };
  } catch (error) {
    return { ok: false, detail: error instanceof Failure ? error.message : `${error.name}: ${error.message}` };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs all cases of these SDKs. Never returns. */
export async function main(sdks) {
  const baseUrl = (process.env.CLYRA_BASE_URL ?? '').replace(/\/$/, '');
  if (!baseUrl) {
    console.error('set CLYRA_BASE_URL to where Clyra listens, such as http://127.0.0.1:8080');
    process.exit(2);
  }
  const cases = process.env.CLYRA_CASES === 'clean' ? CLEAN_CASES : { ...CLEAN_CASES, ...POLICY_CASES };
  let failed = 0;
  for (const Sdk of sdks) {
    for (const [name, attempt] of Object.entries(cases)) {
      if (Sdk.without.includes(name)) continue;
      const outcome = await run(attempt, Sdk, baseUrl);
      failed += outcome.ok ? 0 : 1;
      console.log(JSON.stringify({ case: `${Sdk.title}-node: ${name}`, ...outcome }));
    }
  }
  // A case that hung still has its connection open.
  process.exit(failed ? 1 : 0);
}
