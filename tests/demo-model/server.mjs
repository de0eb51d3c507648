// A minimal server in OpenAI's format for a GGUF model, run by llama.cpp through node-llama-cpp: chat completions, plain and
// streamed, for the demonstration and nothing else.
//
//   node server.mjs MODEL.gguf
//
// Prints its address once it listens on a free port of 127.0.0.1. `response_format` is accepted and ignored, so that the
// model's answer is what it came up with, not what a grammar allowed.

import { createServer } from 'node:http';

import { getLlama, LlamaChat } from 'node-llama-cpp';

const MODEL = 'smollm2-135m-instruct';
// Prompt and answer together; the model was made for 8,192.
const CONTEXT_TOKENS = 2048;
// Where the request does not say; a demonstration has an end.
const ANSWER_TOKENS_MAX = 256;
// A prompt that fits the context is far smaller.
const BODY_BYTES_MAX = 1024 * 1024;
// One answer is made at a time; more wait, and beyond these nobody does.
const WAITING_MAX = 8;

const [modelPath] = process.argv.slice(2);
if (!modelPath) {
  console.error('usage: node server.mjs MODEL.gguf');
  process.exit(2);
}

// One thread: on a busy machine several wait for each other more than they work. Nothing is built or downloaded.
const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, maxThreads: 1, logLevel: 'error' });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ contextSize: CONTEXT_TOKENS });
const chat = new LlamaChat({ contextSequence: context.getSequence() });

class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The conversation as the model's chat template takes it. */
function history(messages) {
  if (!Array.isArray(messages) || messages.length === 0) throw new RequestError(400, "The request has no 'messages'.");
  return messages.map(({ role, content }) => {
    const parts = Array.isArray(content) ? content : [{ text: content }];
    const text = parts.map((part) => (typeof part?.text === 'string' ? part.text : '')).join('\n');
    if (role === 'user') return { type: 'user', text };
    if (role === 'assistant') return { type: 'model', response: [text] };
    if (role === 'system' || role === 'developer') return { type: 'system', text };
    throw new RequestError(400, `The role ${JSON.stringify(role)} is not known here.`);
  });
}

async function read(request) {
  const pieces = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size > BODY_BYTES_MAX) throw new RequestError(413, 'The request is too large.');
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString('utf8')) ?? {};
  } catch {
    throw new RequestError(400, 'The request is not JSON.');
  }
}

let waiting = 0;
let last = Promise.resolve();

/** Runs this when everything before it is done. */
function inTurn(work) {
  if (waiting >= WAITING_MAX) throw new RequestError(503, 'Too many requests are waiting.');
  waiting += 1;
  const turn = last.then(work).finally(() => (waiting -= 1));
  last = turn.catch(() => {});
  return turn;
}

let answers = 0;

async function complete(request, response) {
  const asked = await read(request);
  const conversation = history(asked.messages);
  // What the model is to continue.
  conversation.push({ type: 'model', response: [] });
  const left = new AbortController();
  response.on('close', () => left.abort());
  const envelope = { id: `chatcmpl-demo${++answers}`, created: Math.floor(Date.now() / 1000), model: MODEL };
  const send = (choices, more = {}) => {
    const chunk = { ...envelope, object: 'chat.completion.chunk', choices, ...more };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  const delta = (delta, finish_reason = null) => send([{ index: 0, delta, finish_reason }]);

  await inTurn(async () => {
    if (left.signal.aborted) return;
    if (asked.stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      delta({ role: 'assistant', content: '' });
    }
    const before = chat.sequence.tokenMeter.getState();
    const result = await chat.generateResponse(conversation, {
      maxTokens: Math.min(asked.max_completion_tokens ?? asked.max_tokens ?? ANSWER_TOKENS_MAX, ANSWER_TOKENS_MAX),
      temperature: asked.temperature ?? 0,
      seed: asked.seed,
      signal: left.signal,
      stopOnAbortSignal: true,
      onTextChunk: (text) => asked.stream && text !== '' && delta({ content: text }),
    });
    if (left.signal.aborted) return;
    const used = chat.sequence.tokenMeter.diff(before);
    const usage = {
      prompt_tokens: used.usedInputTokens,
      completion_tokens: used.usedOutputTokens,
      total_tokens: used.usedInputTokens + used.usedOutputTokens,
    };
    const finish_reason = result.metadata.stopReason === 'maxTokens' ? 'length' : 'stop';
    if (asked.stream) {
      delta({}, finish_reason);
      if (asked.stream_options?.include_usage) send([], { usage });
      response.end('data: [DONE]\n\n');
      return;
    }
    const message = { role: 'assistant', content: result.response, refusal: null };
    const choices = [{ index: 0, message, logprobs: null, finish_reason }];
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ ...envelope, object: 'chat.completion', choices, usage }));
  });
}

function refuse(response, status, message) {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const type = status < 500 ? 'invalid_request_error' : 'server_error';
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error: { message, type, param: null, code: null } }));
}

const server = createServer((request, response) => {
  if (request.method === 'GET' && request.url === '/v1/models') {
    response.writeHead(200, { 'content-type': 'application/json' });
    const data = [{ id: MODEL, object: 'model', created: 0, owned_by: 'demo' }];
    response.end(JSON.stringify({ object: 'list', data }));
  } else if (request.method === 'POST' && request.url === '/v1/chat/completions') {
    complete(request, response).catch((error) => {
      if (!(error instanceof RequestError)) console.error(error);
      refuse(response, error.status ?? 500, error instanceof RequestError ? error.message : 'The model failed.');
    });
  } else {
    refuse(response, 404, 'There is only POST /v1/chat/completions and GET /v1/models here.');
  }
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
