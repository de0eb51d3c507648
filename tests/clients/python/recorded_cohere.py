"""The recordings of Cohere's endpoints as the `cohere` package reads them, in version 1 and 2 of its client."""

import json

import cohere
import httpx
from cohere.core.api_error import ApiError

from recorded_reading import Read, Refused, failed, get

HTTP = httpx.Client(timeout=60)


def client(url, headers, exchange, endpoint):
    """A client of the version that the path names, and what makes its method send the request as recorded."""
    base, _, rest = exchange["path"].rpartition("/v")
    if rest not in (f"1/{endpoint}", f"2/{endpoint}"):
        raise Refused(f"no method leads to {exchange['path']}")
    kind = cohere.Client if rest.startswith("1") else cohere.ClientV2
    made = kind(api_key="simulated", base_url=url + base, httpx_client=HTTP)
    body = json.loads(exchange["request"])
    options = {"additional_headers": headers, "additional_body_parameters": body, "max_retries": 0}
    return made, body, {"request_options": options}


def raised(error):
    return failed(error.status_code, get(error.body, "message"))


def tokens(read, usage):
    for name in ("tokens", "billed_units"):
        of = get(usage, name)
        if of is not None and read.tokens == {}:
            read.count(input=whole(of.input_tokens), output=whole(of.output_tokens))


def whole(count):
    """The SDK has its counts as floating-point numbers."""
    return int(count) if count is not None else None


def chat(url, headers, exchange):
    made, body, options = client(url, headers, exchange, "chat")
    read = Read()
    try:
        if isinstance(made, cohere.ClientV2):
            if exchange["stream"]:
                for event in made.chat_stream(model="m", messages=[], **options):
                    event_of(read, event)
                return read
            answer = made.chat(model="m", messages=[], **options)
            message(read, answer.message)
            tokens(read, answer.usage)
        else:
            if exchange["stream"]:
                raise Refused("streams of version 1 are not recorded")
            answer = made.chat(message="any", **options)
            read.text("content", "", answer.text)
            for call in answer.tool_calls or []:
                read.call(call.name, call.parameters)
            tokens(read, answer.meta)
        read.finish[""] = answer.finish_reason
    except ApiError as error:
        return raised(error)
    return read


def message(read, message):
    for index, part in enumerate(message.content or []):
        read.text("content", index, get(part, "text"))
        read.text("reasoning", index, get(part, "thinking"))
    read.text("reasoning", "plan", message.tool_plan)
    for call in message.tool_calls or []:
        read.call(call.function.name, call.function.arguments)


def event_of(read, event):
    said = get(event, "delta", "message")
    index = get(event, "index")
    if event.type in ("content-start", "content-delta"):
        read.text("content", index, get(said, "content", "text"))
        read.text("reasoning", index, get(said, "content", "thinking"))
    elif event.type == "tool-plan-delta":
        read.text("reasoning", "plan", said.tool_plan)
    elif event.type == "tool-call-start":
        read.call(said.tool_calls.function.name, said.tool_calls.function.arguments or "")
    elif event.type == "tool-call-delta":
        name, arguments = read.calls.pop()
        read.call(name, arguments + said.tool_calls.function.arguments)
    elif event.type == "message-end":
        read.finish[""] = event.delta.finish_reason
        tokens(read, event.delta.usage)


def embed(url, headers, exchange):
    made, body, options = client(url, headers, exchange, "embed")
    read = Read()
    try:
        if isinstance(made, cohere.ClientV2):
            kinds = {"input_type": "search_query", "embedding_types": body.get("embedding_types", ["float"])}
            answer = made.embed(model="m", **kinds, **options)
        else:
            # What `Client` does on top would send a request for each batch of texts.
            answer = cohere.base_client.BaseCohere.embed(made, **options)
    except ApiError as error:
        return raised(error)
    tokens(read, answer.meta)
    return read


def rerank(url, headers, exchange):
    made, body, options = client(url, headers, exchange, "rerank")
    answer = made.rerank(model="m", query="any", documents=[], **options)
    read = Read()
    tokens(read, answer.meta)
    return read


APIS = {"cohere.chat": chat, "cohere.embed": embed, "cohere.rerank": rerank}
