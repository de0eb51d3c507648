"""The recordings of Gemini's endpoints as the `google-genai` package reads them, of Vertex AI as well."""

import json
import re

from google import genai
from google.auth.credentials import AnonymousCredentials
from google.genai import errors, types

from recorded_reading import Read, Refused, failed, get

# Why an answer ended, in the words of receipts.
REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
} | dict.fromkeys(("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"), "content_filter")
PATH = re.compile(r"(?P<base>.*)/(?P<version>v1(?:beta)?1?)/(?P<project>projects/.*/)?(?P<model>models/[^/:]+):\w+$")
VERTEX = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/publishers/google/$")


def client(url, headers, exchange):
    """A client and the model with which its method leads to the path of the recording."""
    path = PATH.match(exchange["path"])
    if path is None:
        raise Refused(f"no method leads to {exchange['path']}")
    options = {"base_url": url + path["base"], "api_version": path["version"], "headers": headers}
    options = types.HttpOptions(**options, extra_body=json.loads(exchange["request"]))
    if path["project"] is None:
        return genai.Client(api_key="simulated", http_options=options), path["model"]
    vertex = VERTEX.match(path["project"])
    if vertex is None:
        raise Refused(f"no method leads to {exchange['path']}")
    credentials = AnonymousCredentials()
    credentials.token = "simulated"
    made = genai.Client(vertexai=True, credentials=credentials, http_options=options, **vertex.groupdict())
    return made, path["model"].removeprefix("models/")


def content(url, headers, exchange):
    made, model = client(url, headers, exchange)
    read = Read()
    try:
        if exchange["stream"]:
            for chunk in made.models.generate_content_stream(model=model, contents="any"):
                chunk_of(read, chunk)
        else:
            chunk_of(read, made.models.generate_content(model=model, contents="any"))
    except errors.APIError as error:
        return failed(error.code, error.message)
    if any(name for name, _ in read.calls):
        read.finish = {index: "tool_calls" if reason == "stop" else reason for index, reason in read.finish.items()}
    return read


def chunk_of(read, chunk):
    for position, candidate in enumerate(chunk.candidates or []):
        index = candidate.index or position
        for part in get(candidate, "content", "parts") or []:
            read.text("reasoning" if part.thought else "content", index, part.text)
            if part.function_call is not None:
                read.call(part.function_call.name, part.function_call.args)
            if part.executable_code is not None:
                read.call("", part.executable_code.code)
            if get(part, "tool_call") is not None:
                read.call("", part.tool_call.args)
        if candidate.finish_reason is not None:
            read.finish[index] = REASONS.get(candidate.finish_reason.value, "other")
    if get(chunk, "prompt_feedback", "block_reason") is not None:
        read.finish[""] = "content_filter"
    usage = chunk.usage_metadata
    # Each count is of all there was until then; the last is the one that counts.
    if usage is not None and usage.prompt_token_count is not None:
        thoughts = usage.thoughts_token_count
        counted = [count for count in (usage.candidates_token_count, thoughts) if count is not None]
        read.count(
            input=usage.prompt_token_count,
            output=sum(counted) if counted else None,
            cached=usage.cached_content_token_count,
            reasoning=thoughts,
        )


def interactions(url, headers, exchange):
    base, found, _ = exchange["path"].rpartition("/v1beta/interactions")
    if not found:
        raise Refused(f"no method leads to {exchange['path']}")
    options = types.HttpOptions(base_url=url + base, headers=headers)
    made = genai.Client(api_key="simulated", http_options=options)
    answer = made.interactions.create(**json.loads(exchange["request"]))
    read = Read()
    if exchange["stream"]:
        interaction_events(read, answer)
        return read
    for index, one in enumerate(answer.steps or []):
        step(read, index, one)
    ended(read, answer)
    return read


def ended(read, interaction):
    status = get(interaction, "status")
    read.finish[""] = None if status == "in_progress" else status
    usage = interaction.usage
    if usage is not None:
        thoughts = usage.total_thought_tokens
        read.count(
            input=usage.total_input_tokens,
            output=usage.total_output_tokens + (thoughts or 0),
            cached=usage.total_cached_tokens,
            reasoning=thoughts,
        )


def step(read, index, step):
    for part in get(step, "content") or []:
        read.text("content", index, get(part, "text"))
    for part in get(step, "summary") or []:
        read.text("reasoning", index, get(part, "text"))
    arguments = get(step, "arguments")
    if arguments is not None:
        plain = arguments if isinstance(arguments, dict) else arguments.model_dump(exclude_unset=True)
        read.call(get(step, "name") or "", plain)


def interaction_events(read, events):
    for event in events:
        if event.event_type == "step.start":
            step(read, event.index, event.step)
        elif event.event_type == "step.delta":
            read.text("content", event.index, get(event.delta, "text"))
            read.text("reasoning", event.index, get(event.delta, "content", "text"))
        elif event.event_type in ("interaction.completed", "interaction.complete"):
            ended(read, event.interaction)


APIS = {
    "gemini.generateContent": content,
    "gemini.streamGenerateContent": content,
    "gemini.interactions": interactions,
}
