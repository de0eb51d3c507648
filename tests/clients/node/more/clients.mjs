// The Vercel AI SDK (over chat completions and responses) and LangChain, as applications use them, against Clyra; the
// environment and the output are those of ../clients.mjs.

import { createOpenAI } from '@ai-sdk/openai';
import { HumanMessage, SystemMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { APICallError, generateText, jsonSchema, Output, streamText, tool } from 'ai';
import * as openaiErrors from 'openai';

import { CASE_MS_MAX, TOOL_SCHEMA, Sdk, counting, emptyAnswer, main } from './cases.mjs';

/** Vercel's AI SDK over chat completions. */
class AiSdk extends Sdk {
  static title = 'ai-sdk-chat';
  static finish = { text: 'stop', tools: 'tool-calls' };
  static errorTypes = { 429: 'requests', 500: 'server_error' };

  constructor(baseUrl, options = {}) {
    super();
    this.calls = 0;
    this.options = options;
    this.provider = createOpenAI({ baseURL: `${baseUrl}/v1`, apiKey: 'sk-simulated', fetch: counting(this) });
  }

  get model() {
    return this.provider.chat('simulated-gpt');
  }

  arguments(user, { system, tools, schema }) {
    const weather = tool({ description: 'The weather.', inputSchema: jsonSchema(TOOL_SCHEMA) });
    return {
      model: this.model,
      prompt: user,
      abortSignal: AbortSignal.timeout(CASE_MS_MAX),
      ...this.options,
      ...(system && { system }),
      ...(tools && { tools: { weather } }),
      ...(schema && { output: Output.object({ schema: jsonSchema(schema) }) }),
    };
  }

  async ask(user, options = {}) {
    const result = await generateText(this.arguments(user, options));
    return {
      ...emptyAnswer(),
      text: result.text,
      finish: result.finishReason,
      tools: result.toolCalls.map((call) => [call.toolName, call.input]),
    };
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    // Errors are parts of the stream; without a handler they are printed as well.
    const result = streamText({ ...this.arguments(user, options), onError() {} });
    for await (const part of result.fullStream) {
      if (part.type === 'text-delta') {
        answer.text += part.text;
        answer.deltas += 1;
      } else if (part.type === 'tool-call') {
        answer.tools.push([part.toolName, part.input]);
      } else if (part.type === 'finish') {
        answer.finish = part.finishReason;
      } else if (part.type === 'error') {
        throw part.error;
      }
    }
    return answer;
  }

  static kind() {
    return APICallError;
  }

  // In a stream it is what the provider said, as it stands there.
  static isErrorInStream(error) {
    return error.constructor === Object && typeof error.message === 'string';
  }

  static status(error) {
    return error.statusCode;
  }

  static header(error, name) {
    return error.responseHeaders[name];
  }

  static errorMessage(error) {
    return error.data.error.message;
  }

  static errorType(error) {
    return error.data.error.type;
  }
}

/** Vercel's AI SDK over responses, which is what it uses by default. */
class AiSdkResponses extends AiSdk {
  static title = 'ai-sdk-responses';

  get model() {
    return this.provider('simulated-gpt');
  }
}

class LangChain extends Sdk {
  static title = 'langchain-openai';
  static errors = openaiErrors;
  static finish = { text: 'stop', tools: 'tool_calls' };
  static errorTypes = { 429: 'requests', 500: 'server_error' };

  constructor(baseUrl, options = {}) {
    super();
    this.calls = 0;
    this.model = new ChatOpenAI({
      model: 'simulated-gpt',
      apiKey: 'sk-simulated',
      timeout: CASE_MS_MAX,
      configuration: { baseURL: `${baseUrl}/v1`, fetch: counting(this) },
      ...options,
    });
  }

  messages(user, { system }) {
    const messages = [new HumanMessage(user)];
    return system ? [new SystemMessage(system), ...messages] : messages;
  }

  runnable({ tools, schema }) {
    const weather = { name: 'weather', description: 'The weather.', parameters: TOOL_SCHEMA };
    const bound = tools ? this.model.bindTools([{ type: 'function', function: weather }]) : this.model;
    const form = { type: 'json_schema', json_schema: { name: 'form', schema } };
    return schema ? bound.withConfig({ response_format: form }) : bound;
  }

  async ask(user, options = {}) {
    return this.read(await this.runnable(options).invoke(this.messages(user, options)));
  }

  async stream(user, options = {}, answer = emptyAnswer()) {
    let whole;
    for await (const chunk of await this.runnable(options).stream(this.messages(user, options))) {
      if (chunk.text) {
        answer.text += chunk.text;
        answer.deltas += 1;
      }
      whole = whole ? whole.concat(chunk) : chunk;
    }
    return { ...this.read(whole), text: answer.text, deltas: answer.deltas };
  }

  read(message) {
    return {
      ...emptyAnswer(),
      text: message.text,
      finish: message.response_metadata.finish_reason,
      tools: message.tool_calls.map((call) => [call.name, call.args]),
    };
  }

  static errorMessage(error) {
    return error.error.message;
  }

  static errorType(error) {
    return error.error.type;
  }
}

await main([AiSdk, AiSdkResponses, LangChain]);
