// A real language model, Clyra in front of it, and an unmodified SDK as the client: a chat, a stream, documents of a schema
// that the model keeps and breaks, and a prompt that is blocked. Prints what happened.
//
//   node demo.mjs CLYRA MODEL.gguf POLICY.yaml DATA_DIR
//
// CLYRA is the binary. Everything listens on free ports of 127.0.0.1 and is gone at the end. The model's temperature is 0,
// so that what it says depends on the processor and nothing else. Exits with 1 where Clyra did not do what it should have,
// whatever the model said.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import OpenAI from 'openai';

const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 10_000;
const POLL_MS = 100;
// The model makes 10 to 30 tokens a second, and may be asked twice for one answer.
const ANSWER_MS_MAX = 180_000;
const MODEL = 'smollm2-135m-instruct';

const [clyra, modelPath, policy, dataDir] = process.argv.slice(2);
if (!dataDir) {
  console.error('usage: node demo.mjs CLYRA MODEL.gguf POLICY.yaml DATA_DIR');
  process.exit(2);
}

const begun = performance.now();
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;
const children = [];
let failed = 0;
let stopping = false;

function start(command, args, stdout) {
  const child = spawn(command, args, { stdio: ['ignore', stdout, 'inherit'] });
  children.push(child);
  child.on('exit', (code) => {
    if (code && !stopping) console.error(`${command} ended with ${code}`);
  });
  return child;
}

async function stop() {
  stopping = true;
  const ended = children.map((child) => child.exitCode ?? new Promise((resolve) => child.once('exit', resolve)));
  for (const child of children) child.kill('SIGTERM');
  const timer = setTimeout(() => children.forEach((child) => child.kill('SIGKILL')), STOP_MS_MAX);
  await Promise.all(ended);
  clearTimeout(timer);
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function startModel() {
  const server = fileURLToPath(new URL('server.mjs', import.meta.url));
  const child = start(process.execPath, [server, modelPath], 'pipe');
  const [line] = await Promise.race([
    createInterface({ input: child.stdout })[Symbol.asyncIterator]().next().then(({ value }) => [value]),
    new Promise((_, reject) => setTimeout(reject, READY_MS_MAX, new Error('the model was not ready in time')).unref()),
  ]);
  if (!line) throw new Error('the model did not start');
  return line;
}

async function startClyra(upstream) {
  const [port, admin] = [await freePort(), await freePort()];
  const listen = ['--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${admin}`];
  const options = ['--upstream', `openai=${upstream}`, '--policy', policy, '--data-dir', dataDir];
  const child = start(clyra, ['run', ...listen, ...options], 'ignore');
  const deadline = performance.now() + READY_MS_MAX;
  while (performance.now() < deadline && child.exitCode === null) {
    const ready = await fetch(`http://127.0.0.1:${admin}/readyz`).then((answer) => answer.ok, () => false);
    if (ready) return `http://127.0.0.1:${port}/v1`;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error('clyra was not ready in time');
}

function print(name, text) {
  const [first, ...rest] = text.split('\n');
  console.log([`${name.padEnd(8)}${first}`, ...rest.map((line) => ' '.repeat(8) + line)].join('\n').trimEnd());
}

function expect(holds, otherwise) {
  if (holds) return;
  failed += 1;
  print('FAILED', otherwise);
}

/** One request and what comes of it: the text of the answer, or what the SDK raised. */
async function ask(title, client, request, said) {
  console.log(`\n== ${title}`);
  print('asked', request.messages.at(-1).content);
  if (request.response_format) print('schema', JSON.stringify(request.response_format.json_schema.schema));
  if (said) print('model', said);
  const since = performance.now();
  const outcome = {};
  try {
    const { data, response } = await client.chat.completions.create(request).withResponse();
    outcome.decision = response.headers.get('x-clyra-decision');
    if (request.stream) {
      outcome.text = '';
      outcome.pieces = 0;
      for await (const chunk of data) {
        const piece = chunk.choices[0]?.delta.content;
        if (!piece) continue;
        outcome.first ??= seconds(since);
        outcome.text += piece;
        outcome.pieces += 1;
      }
    } else {
      outcome.text = data.choices[0].message.content;
    }
    print('answer', outcome.text);
  } catch (error) {
    outcome.error = error;
    outcome.decision = error.headers?.get('x-clyra-decision');
    print('raised', `${error.constructor.name}: ${error.message}`);
  }
  const pieces = outcome.pieces ? `, ${outcome.pieces} pieces, the first after ${outcome.first}` : '';
  print('clyra', `${outcome.decision} (${seconds(since)}${pieces})`);
  return outcome;
}

const document = (properties) => ({
  type: 'json_schema',
  json_schema: {
    name: 'document',
    schema: { type: 'object', properties, required: Object.keys(properties) },
  },
});

function keeps(outcome, properties) {
  const types = { string: (value) => typeof value === 'string', integer: Number.isInteger };
  try {
    const read = JSON.parse(outcome.text);
    return Object.entries(properties).every(([name, { type }]) => types[type](read[name]));
  } catch {
    return false;
  }
}

async function run(client, direct) {
  const user = (content) => ({ role: 'user', content });
  const request = (messages, more = {}) => ({ model: MODEL, messages, temperature: 0, max_tokens: 96, ...more });

  let outcome = await ask('A question', client, request([user('What is a reverse proxy? Answer in one sentence.')]));
  expect(outcome.text && outcome.decision === 'allow', 'the answer should have come as it was');

  outcome = await ask('A stream', client, request([user('Why is the sky blue? Answer briefly.')], { stream: true }));
  expect(outcome.pieces > 1 && outcome.decision === 'allow', 'the answer should have come in pieces');

  const person = { name: { type: 'string' }, age: { type: 'integer' } };
  const example = [
    { role: 'system', content: 'You write JSON objects with the members "name" and "age".' },
    user('Bob is 41.'),
    { role: 'assistant', content: '{"name": "Bob", "age": 41}' },
  ];
  const city = { name: { type: 'string' }, population: { type: 'integer' } };
  for (const [title, messages, properties] of [
    ['A schema, and an example to follow', [...example, user('Ada is 36.')], person],
    ['A schema, and the model goes on talking', [user('Complete the JSON document.\n{"city": "Paris", "country":')], city],
    ['A schema, and the model has other ideas', [user('Convert to JSON: name is Ada, age is 36.')], person],
  ]) {
    const asked = request(messages, { response_format: document(properties) });
    // What there would have been without Clyra: the model says the same again.
    const { choices } = await direct.chat.completions.create(asked);
    outcome = await ask(title, client, asked, choices[0].message.content);
    const blocked = outcome.error?.status === 400 && outcome.decision === 'block';
    expect(blocked || keeps(outcome, properties), 'neither a document of the schema nor a block');
  }

  outcome = await ask('A prompt with a forbidden name', client, request([user('Tell me about Project Nightjar.')]));
  expect(outcome.error?.status === 400 && outcome.decision === 'block', 'the prompt should have been blocked');
}

for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]]) {
  process.on(signal, () => stop().then(() => process.exit(status)));
}
try {
  const upstream = await startModel();
  const baseURL = await startClyra(upstream);
  console.log(`model and clyra are up (${seconds(begun)})`);
  const options = { apiKey: 'none', timeout: ANSWER_MS_MAX };
  await run(new OpenAI({ baseURL, ...options }), new OpenAI({ baseURL: `${upstream}/v1`, ...options }));
} catch (error) {
  failed += 1;
  print('FAILED', error.stack);
}
await stop();
console.log(`\n${failed ? `${failed} failed` : 'all as it should be'} (${seconds(begun)})`);
process.exit(failed ? 1 : 0);
