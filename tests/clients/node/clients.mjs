// The OpenAI, Anthropic and Google SDKs for Node, as applications use them, against Clyra.
//
// Environment:
//   CLYRA_BASE_URL   where Clyra listens (or the simulated provider, see below), without a path
//   CLYRA_CASES      "all" (the default), or "clean": only the cases that need no policy, which must also pass
//                    straight against the simulated provider
//
// Behind Clyra stands the simulated provider, which answers what a directive in the prompt tells it to. The policy in
// force is ../policy.yaml. Prints one JSON line per case, {"case", "ok", "detail"}; exits with 1 if any failed.

import { isDeepStrictEqual } from 'node:util';

import Anthropic, * as anthropicErrors from '@anthropic-ai/sdk';
import { ApiError, GoogleGenAI } from '@google/genai';
import OpenAI, * as openaiErrors from 'openai';

const CASE_MS_MAX = 10_000;
const PHRASE = 'Project Nightjar';
const SECRET = 'AKIAIOSFODNN7EXAMPLE';
const REPLACEMENT = '[REDACTED:secret]';
// The policy has one rule per phase; the names of all three begin like this.
const RULE = 'no-nightjar';
const TOOL_ARGUMENTS = { city: 'Zürich', days: 3, note: 'a "quoted" word' };
const TOOL_SCHEMA = {
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

class Failure extends Error {}

function check(holds, otherwise) {
  if (!holds) throw new Failure(otherwise);
}

function shown(value) {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 300);
}

function equal(actual, expected, what) {
  check(isDeepStrictEqual(actual, expected), `${what} is ${shown(actual)}, not ${shown(expected)}`);
}

/** What an SDK made of an answer. */
function emptyAnswer() {
  return { text: '', deltas: 0, tools: [], finish: null };
}

/** A fetch that counts: every attempt of an SDK, retries included, is one call. */
function counting(client) {
  return (...request) => {
    client.calls += 1;
    return fetch(...request);
  };
}

/** What the SDKs of OpenAI and Anthropic have in common. */
class Sdk {
  // Whether an error event of the provider's own in a stream raises an exception.
  static raisesErrorsInStreams = true;

  static kind(name) {
    return this.errors[name];
  }

  static header(error, name) {
    return error.headers.get(name);
  }
}

class OpenAi extends Sdk {
  static title = 'openai';
  static errors = openaiErrors;
  static finish = { text: 'stop', tools: 'tool_calls' };
  static errorTypes = { 429: 'requests', 500: 'server_error' };

  constructor(baseUrl, options = {}) {
    super();
    this.calls = 0;
    this.client = new OpenAI({
      baseURL: `${baseUrl}/v1`,
      apiKey: 'sk-simulated',
      timeout: CASE_MS_MAX,
      fetch: counting(this),
      ...options,
    });
  }

  arguments(user, { system, tools, schema }) {
    const messages = [{ role: 'user', content: user }];
    if (system) messages.unshift({ role: 'system', content: system });
    const weather = { name: 'weather', description: 'The weather.', parameters: TOOL_SCHEMA };
    const form = { type: 'json_schema', json_schema: { name: 'form', schema } };
    return {
      model: 'simulated-gpt',
      messages,
      ...(tools && { tools: [{ type: 'function', function: weather }] }),
      ...(schema && { response_format: form }),
    };
  }

  async ask(user, options = {}) {
    const completion = await this.client.chat.completions.create(this.arguments(user, options));
    const [choice] = completion.choices;
    return {
      ...emptyAnswer(),
      text: choice.message.content ?? '',
      finish: choice.finish_reason,
      tools: (choice.message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
    };
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    const stream = await this.client.chat.completions.create({ ...this.arguments(user, options), stream: true });
    const calls = [];
    for await (const chunk of stream) {
      for (const choice of chunk.choices) {
        if (choice.delta.content) {
          answer.text += choice.delta.content;
          answer.deltas += 1;
        }
        for (const call of choice.delta.tool_calls ?? []) {
          const gathered = (calls[call.index] ??= { name: '', arguments: '' });
          gathered.name += call.function.name ?? '';
          gathered.arguments += call.function.arguments ?? '';
        }
        answer.finish = choice.finish_reason ?? answer.finish;
      }
    }
    answer.tools = calls.map((call) => [call.name, JSON.parse(call.arguments)]);
    return answer;
  }

  static errorMessage(error) {
    return error.error.message;
  }

  static errorType(error) {
    return error.error.type;
  }
}

class Responses extends OpenAi {
  static title = 'openai-responses';
  static finish = { text: 'completed', tools: 'completed' };
  // Nor does the helper: it ends without a final response.
  static raisesErrorsInStreams = false;

  arguments(user, { system, tools, schema }) {
    const weather = { type: 'function', name: 'weather', description: 'The weather.', parameters: TOOL_SCHEMA };
    return {
      model: 'simulated-gpt',
      input: [{ role: 'user', content: user }],
      ...(system && { instructions: system }),
      ...(tools && { tools: [weather] }),
      ...(schema && { text: { format: { type: 'json_schema', name: 'form', schema } } }),
    };
  }

  async ask(user, options = {}) {
    return this.read(await this.client.responses.create(this.arguments(user, options)));
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    const stream = this.client.responses.stream(this.arguments(user, options));
    for await (const event of stream) {
      if (event.type === 'response.output_text.delta') {
        answer.text += event.delta;
        answer.deltas += 1;
      } else if (event.type === 'error') {
        answer.finish = 'error';
      }
    }
    if (answer.finish === 'error') return answer;
    const final = this.read(await stream.finalResponse());
    equal(final.text, answer.text, 'the final response');
    return { ...final, deltas: answer.deltas };
  }

  read(response) {
    return {
      ...emptyAnswer(),
      text: response.output_text,
      finish: response.status,
      tools: response.output
        .filter((item) => item.type === 'function_call')
        .map((item) => [item.name, JSON.parse(item.arguments)]),
    };
  }
}

class AnthropicSdk extends Sdk {
  static title = 'anthropic';
  static errors = anthropicErrors;
  static finish = { text: 'end_turn', tools: 'tool_use' };
  static errorTypes = { 429: 'rate_limit_error', 500: 'api_error' };

  constructor(baseUrl, options = {}) {
    super();
    this.calls = 0;
    this.client = new Anthropic({
      baseURL: baseUrl,
      apiKey: 'sk-ant-simulated',
      timeout: CASE_MS_MAX,
      fetch: counting(this),
      ...options,
    });
  }

  arguments(user, { system, tools, schema }) {
    const weather = { name: 'weather', description: 'The weather.', input_schema: TOOL_SCHEMA };
    return {
      model: 'simulated-claude',
      max_tokens: 1024,
      messages: [{ role: 'user', content: user }],
      ...(system && { system }),
      ...(tools && { tools: [weather] }),
      ...(schema && { output_config: { format: { type: 'json_schema', schema } } }),
    };
  }

  async ask(user, options = {}) {
    return this.read(await this.client.messages.create(this.arguments(user, options)));
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    const stream = this.client.messages.stream(this.arguments(user, options));
    stream.on('text', (text) => {
      answer.text += text;
      answer.deltas += 1;
    });
    const final = this.read(await stream.finalMessage());
    equal(final.text, answer.text, 'the final message');
    return { ...final, deltas: answer.deltas };
  }

  read(message) {
    return {
      ...emptyAnswer(),
      text: message.content.filter((block) => block.type === 'text').map((block) => block.text).join(''),
      finish: message.stop_reason,
      tools: message.content.filter((block) => block.type === 'tool_use').map((block) => [block.name, block.input]),
    };
  }

  static errorMessage(error) {
    return error.error.error.message;
  }

  static errorType(error) {
    return error.error.error.type;
  }
}

class Google extends Sdk {
  static title = 'google';
  static errors = { APIError: ApiError };
  static finish = { text: 'STOP', tools: 'STOP' };
  static errorTypes = { 429: 'RESOURCE_EXHAUSTED', 500: 'INTERNAL' };

  constructor(baseUrl) {
    super();
    this.calls = 0;
    // The SDK calls the global fetch and says nothing of headers: both are noted on the way.
    Google.current = this;
    this.client = new GoogleGenAI({ apiKey: 'simulated', httpOptions: { baseUrl, timeout: CASE_MS_MAX } });
  }

  arguments(user, { system, tools, schema }) {
    const weather = { name: 'weather', description: 'The weather.', parametersJsonSchema: TOOL_SCHEMA };
    return {
      model: 'simulated-gemini',
      contents: user,
      config: {
        ...(system && { systemInstruction: system }),
        ...(tools && { tools: [{ functionDeclarations: [weather] }] }),
        ...(schema && { responseMimeType: 'application/json', responseJsonSchema: schema }),
      },
    };
  }

  async ask(user, options = {}) {
    const answer = emptyAnswer();
    this.add(await this.client.models.generateContent(this.arguments(user, options)), answer);
    return answer;
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    for await (const chunk of await this.client.models.generateContentStream(this.arguments(user, options))) {
      this.add(chunk, answer);
    }
    return answer;
  }

  add(response, answer) {
    for (const candidate of response.candidates ?? []) {
      for (const part of candidate.content?.parts ?? []) {
        if (part.text) {
          answer.text += part.text;
          answer.deltas += 1;
        }
        if (part.functionCall) answer.tools.push([part.functionCall.name, part.functionCall.args]);
      }
      answer.finish = candidate.finishReason ?? answer.finish;
    }
  }

  static kind() {
    return ApiError;
  }

  /** The exception has the body of the answer as its message. */
  static body(error) {
    return JSON.parse(error.message.slice(error.message.indexOf('{')));
  }

  static header(_error, name) {
    return Google.current.headers.get(name);
  }

  static errorMessage(error) {
    return Google.body(error).error.message;
  }

  static errorType(error) {
    return Google.body(error).error.status;
  }
}

const plainFetch = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const response = await plainFetch(...request);
  if (Google.current) {
    Google.current.calls += 1;
    Google.current.headers = response.headers;
  }
  return response;
};

/** The exception that the call raises, which must be of exactly this class. */
async function raised(kind, call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    check(error.constructor === kind, `raised ${error.constructor.name}, not ${kind.name}: ${error.message}`);
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
    const error = await raised(Sdk.kind(kind), () => client[way](directive({ status, content: words })));
    equal(error.status, status, 'the status');
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
    check(error instanceof Sdk.errors.APIError, `raised ${error.constructor.name}: ${error.message}`);
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
  const error = await raised(Sdk.kind('BadRequestError'), () => client[way](`What became of ${PHRASE}?`));
  checkBlock(Sdk, client, error);
}

async function systemBlock(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const system = `You work for ${PHRASE}.`;
  checkBlock(Sdk, client, await raised(Sdk.kind('BadRequestError'), () => client.ask('Hello', { system })));
}

async function responseBlock(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const ask = directive({ content: `It is called ${PHRASE}, of course.` });
  checkBlock(Sdk, client, await raised(Sdk.kind('BadRequestError'), () => client.ask(ask)));
}

async function toolBlock(Sdk, baseUrl) {
  const client = new Sdk(baseUrl);
  const ask = directive({ tool: [{ name: 'weather', arguments: JSON.stringify({ city: PHRASE }) }] });
  checkBlock(Sdk, client, await raised(Sdk.kind('BadRequestError'), () => client.ask(ask, { tools: true })));
}

async function blockInStream(Sdk, baseUrl) {
  const before = 'These words are harmless and may be read by anybody. '.repeat(6);
  const content = `${before}It is called ${PHRASE}, of course. ${before}`;
  const client = new Sdk(baseUrl);
  const partial = emptyAnswer();
  try {
    await client.stream(directive({ content, split: 4, delay_ms: 2 }), {}, partial);
  } catch (error) {
    check(error instanceof Sdk.errors.APIError, `raised ${error.constructor.name}: ${error.message}`);
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
    check(error instanceof Sdk.errors.APIError, `raised ${error.constructor.name}: ${error.message}`);
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

const baseUrl = (process.env.CLYRA_BASE_URL ?? '').replace(/\/$/, '');
if (!baseUrl) {
  console.error('clients.mjs: set CLYRA_BASE_URL to where Clyra listens, such as http://127.0.0.1:8080');
  process.exit(2);
}
const cases = process.env.CLYRA_CASES === 'clean' ? CLEAN_CASES : { ...CLEAN_CASES, ...POLICY_CASES };
let failed = 0;
for (const Sdk of [OpenAi, Responses, AnthropicSdk, Google]) {
  for (const [name, attempt] of Object.entries(cases)) {
    const outcome = await run(attempt, Sdk, baseUrl);
    failed += outcome.ok ? 0 : 1;
    console.log(JSON.stringify({ case: `${Sdk.title}-node: ${name}`, ...outcome }));
  }
}
// A case that hung still has its connection open.
process.exit(failed ? 1 : 0);
