// The SDKs of OpenAI (chat completions and responses), Anthropic, Google and Ollama for Node, as applications use them,
// against Clyra.
//
// Environment:
//   CLYRA_BASE_URL   where Clyra listens (or the simulated provider, see below), without a path
//   CLYRA_CASES      "all" (the default), or "clean": only the cases that need no policy, which must also pass
//                    straight against the simulated provider
//
// Behind Clyra stands the simulated provider, which answers what a directive in the prompt tells it to. The policy in
// force is ../policy.yaml. Prints one JSON line per case, {"case", "ok", "detail"}; exits with 1 if any failed.

import Anthropic, * as anthropicErrors from '@anthropic-ai/sdk';
import { ApiError, GoogleGenAI } from '@google/genai';
import { Ollama } from 'ollama';
import OpenAI, * as openaiErrors from 'openai';

import { CASE_MS_MAX, TOOL_SCHEMA, Sdk, counting, emptyAnswer, equal, main } from './cases.mjs';

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

class OllamaSdk extends Sdk {
  static title = 'ollama';
  static finish = { text: 'stop', tools: 'stop' };
  // Ollama's errors have no type.
  static errorTypes = { 429: undefined, 500: undefined };

  constructor(baseUrl) {
    super();
    this.calls = 0;
    // Its exceptions have nothing of the response but its message.
    OllamaSdk.current = this;
    const fetching = counting(this);
    this.client = new Ollama({
      host: baseUrl,
      fetch: async (...request) => {
        const response = await fetching(...request);
        this.headers = response.headers;
        return response;
      },
    });
  }

  arguments(user, { system, tools, schema }) {
    const messages = [{ role: 'user', content: user }];
    if (system) messages.unshift({ role: 'system', content: system });
    const weather = { name: 'weather', description: 'The weather.', parameters: TOOL_SCHEMA };
    return {
      model: 'simulated-llama',
      messages,
      ...(tools && { tools: [{ type: 'function', function: weather }] }),
      ...(schema && { format: schema }),
    };
  }

  async ask(user, options = {}) {
    const answer = emptyAnswer();
    this.add(await this.client.chat(this.arguments(user, options)), answer);
    return answer;
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    for await (const line of await this.client.chat({ ...this.arguments(user, options), stream: true })) {
      this.add(line, answer);
    }
    return answer;
  }

  add(line, answer) {
    if (line.message.content) {
      answer.text += line.message.content;
      answer.deltas += 1;
    }
    for (const call of line.message.tool_calls ?? []) answer.tools.push([call.function.name, call.function.arguments]);
    answer.finish = line.done_reason ?? answer.finish;
  }

  // The package does not export the class of its exceptions.
  static isKind(error) {
    return error.name === 'ResponseError';
  }

  static kind() {
    return { name: 'ResponseError' };
  }

  static isErrorInStream(error) {
    return error.constructor === Error;
  }

  static status(error) {
    return error.status_code;
  }

  static header(_error, name) {
    return OllamaSdk.current.headers.get(name);
  }

  static errorMessage(error) {
    return error.error;
  }

  static errorType() {
    return undefined;
  }
}

await main([OpenAi, Responses, AnthropicSdk, Google, OllamaSdk]);
