"""The recordings of OpenAI's endpoints, and of those who speak like OpenAI, as the `openai` package reads them."""

import json

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

from recorded_reading import Read, Refused, counted, failed, get


def client(url, headers, exchange, end):
    """A client whose method leads to the path of the recording."""
    base, found, _ = exchange["path"].rpartition(end)
    if not found:
        raise Refused(f"no method leads to {exchange['path']}")
    return openai.OpenAI(
        base_url=url + base, api_key="sk-simulated", max_retries=0, default_headers=headers, http_client=HTTP
    )


HTTP = openai.DefaultHttpxClient(timeout=60)


def asked(exchange):
    """The request as recorded, whatever the method thinks of it."""
    body = json.loads(exchange["request"])
    query = dict(pair.split("=", 1) for pair in exchange["query"].split("&") if "=" in pair)
    return {"extra_body": body, "extra_query": query}


def raised(error):
    body = error.body if isinstance(error.body, dict) else {}
    return failed(error.status_code, body.get("message") or body.get("detail") or error.message)


def usage(read, usage):
    if usage is not None:
        read.count(
            input=get(usage, "prompt_tokens"),
            output=get(usage, "completion_tokens"),
            cached=get(usage, "prompt_tokens_details", "cached_tokens"),
            reasoning=get(usage, "completion_tokens_details", "reasoning_tokens"),
        )


def message(read, index, message):
    """A message, or a piece of it: what the SDK has members for, and what it keeps beside them."""
    content = get(message, "content")
    if isinstance(content, list):
        # Mistral's content in parts.
        for part in content:
            read.text("content", index, get(part, "text"))
            for thought in get(part, "thinking") or []:
                read.text("reasoning", (index, "content"), get(thought, "text"))
    else:
        read.text("content", index, content)
    read.text("refusal", index, get(message, "refusal"))
    for name in ("reasoning", "reasoning_content"):
        if isinstance(get(message, name), str):
            read.text("reasoning", (index, name), get(message, name))
    for position, detail in enumerate(get(message, "reasoning_details") or []):
        for name in ("text", "summary"):
            place = (index, "details", name, detail.get("index", position))
            read.text("reasoning", place, detail.get(name))


def calls(read, message):
    for call in get(message, "tool_calls") or []:
        if get(call, "custom") is not None:
            read.call(call.custom.name, call.custom.input)
        else:
            read.call(call.function.name, call.function.arguments)
    if get(message, "function_call") is not None:
        read.call(message.function_call.name, message.function_call.arguments)


def chat(url, headers, exchange):
    completions = client(url, headers, exchange, "/chat/completions").chat.completions
    read = Read()
    try:
        if exchange["stream"]:
            chat_stream(read, completions.create(model="m", messages=[], stream=True, **asked(exchange)))
            return read
        completion = completions.create(model="m", messages=[], **asked(exchange))
    except openai.APIStatusError as error:
        return raised(error)
    for choice in completion.choices:
        message(read, choice.index, choice.message)
        calls(read, choice.message)
        read.finish[choice.index] = choice.finish_reason
    usage(read, completion.usage)
    return read


def chat_stream(read, stream):
    state = ChatCompletionStreamState()
    tokens = None
    for chunk in until_it_breaks(stream):
        state.handle_chunk(chunk)
        # The SDK's own accumulation forgets the count when a chunk without one follows.
        tokens = chunk.usage or tokens
        for choice in chunk.choices:
            # Beside the delta, some say it once more in the way of completions.
            read.text("content", (choice.index, "text"), get(choice, "text"))
    completion = state.current_completion_snapshot
    for choice in completion.choices:
        message(read, choice.index, choice.message)
        calls(read, choice.message)
        read.finish[choice.index] = choice.finish_reason
    usage(read, tokens)


def until_it_breaks(stream):
    """The chunks of a stream, which the provider may end with an error: what was said before has been read."""
    try:
        yield from stream
    except openai.APIError as error:
        if type(error) is not openai.APIError or not error.body:
            raise


def completions(url, headers, exchange):
    method = client(url, headers, exchange, "/completions").completions
    read = Read()
    try:
        if exchange["stream"]:
            for chunk in method.create(model="m", prompt="", stream=True, **asked(exchange)):
                completion(read, chunk)
        else:
            completion(read, method.create(model="m", prompt="", **asked(exchange)))
    except openai.APIStatusError as error:
        return raised(error)
    return read


def completion(read, completion):
    for position, choice in enumerate(completion.choices):
        index = position if choice.index is None else choice.index
        read.text("content", index, choice.text)
        # Some servers say it once more in the deltas of chat, which the SDK keeps as they are.
        read.text("content", (index, "delta"), get(choice, "delta", "content"))
        read.finish[index] = choice.finish_reason or read.finish.get(index)
    usage(read, completion.usage)


def responses(url, headers, exchange):
    read = Read()
    try:
        if exchange["path"].endswith("/input_tokens"):
            method = client(url, headers, exchange, "/responses/input_tokens").responses.input_tokens
            # What is counted here is not used.
            return counted(method.count(**asked(exchange)).input_tokens)
        method = client(url, headers, exchange, "/responses").responses
        if exchange["stream"]:
            with method.stream(model="m", input="", **asked(exchange)) as stream:
                items = {}
                for event in stream:
                    if event.type == "response.output_item.done":
                        items[event.output_index] = event.item
                    if event.type in ("response.completed", "response.incomplete", "response.failed"):
                        # A backend that keeps nothing ends with a response without its items.
                        return response(read, event.response, event.response.output or list(items.values()))
            raise Refused("the stream has no end")
        answer = method.create(model="m", input="", **asked(exchange))
        return response(read, answer, answer.output)
    except openai.APIStatusError as error:
        return raised(error)


def compact(url, headers, exchange):
    method = client(url, headers, exchange, "/responses/compact").responses
    answer = method.compact(model="m", **asked(exchange))
    return response(Read(), answer, answer.output)


# Calls that the application is to carry out; others the provider makes itself.
APPLICATION = (
    "function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call", "computer_call"
)


def response(read, response, items):
    called = False
    for index, item in enumerate(items):
        for position, part in enumerate(get(item, "content") or []):
            reasons = part.type in ("reasoning_text", "summary_text")
            read.text("reasoning" if reasons else "content", (index, position), get(part, "text"))
            read.text("refusal", (index, position), get(part, "refusal"))
        for position, part in enumerate(get(item, "summary") or []):
            read.text("reasoning", (index, "summary", position), part.text)
        called = called or item.type in APPLICATION
        given = [get(item, name) for name in ("arguments", "input", "action", "queries", "operation", "code")]
        given = [one.to_dict() if hasattr(one, "to_dict") else one for one in given if one is not None]
        for arguments in given or ([None] if get(item, "name") else []):
            read.call(get(item, "name") or "", arguments)
    reason = get(response, "incomplete_details", "reason")
    read.finish[""] = {
        "completed": "tool_calls" if called else "stop",
        "incomplete": "content_filter" if reason == "content_filter" else "length",
        "failed": "error",
        "cancelled": "cancelled",
    }.get(get(response, "status"))
    if response.usage is not None:
        read.count(
            input=response.usage.input_tokens,
            output=response.usage.output_tokens,
            cached=get(response.usage, "input_tokens_details", "cached_tokens"),
            reasoning=get(response.usage, "output_tokens_details", "reasoning_tokens"),
        )
    return read


def embeddings(url, headers, exchange):
    read = Read()
    try:
        answer = client(url, headers, exchange, "/embeddings").embeddings.create(
            model="m", input="", encoding_format="float", **asked(exchange)
        )
    except openai.APIStatusError as error:
        return raised(error)
    usage(read, answer.usage)
    return read


def moderations(url, headers, exchange):
    answer = client(url, headers, exchange, "/moderations").moderations.create(input="", **asked(exchange))
    if not answer.results:
        raise Refused("no results")
    return Read()


APIS = {
    "openai.chat": chat,
    "openai.completions": completions,
    "openai.responses": responses,
    "openai.responses-compact": compact,
    "openai.embeddings": embeddings,
    "openai.moderations": moderations,
}
