package pef

// The forms of receipts (SPEC §4), one for each kind.

// BodyBytesMax is the longest receipt body.
const bodyBytesMax = 48_128

const (
	runIDBytesMax    = 128
	parentsMax       = 32
	blockHeaderBytes = 80
)

var (
	commitmentForm = exactly(req("alg", oneOf("hmac-sha256")), opt("salt", base64Text), req("value", digestText))
	callerForm     = exactly(
		opt("app", isText),
		opt("automation", exactly(opt("job_id", isText), opt("pipeline_id", isText), opt("service_id", isText))),
		opt("identity", exactly(opt("commit", commitmentForm), opt("id", isText), req("kind", isText))),
		opt("sdk", isText), opt("tenant", isText))
	requestForm = exactly(
		req("bytes", count), opt("commit", commitmentForm),
		opt("messages", listOf(exactly(req("count", count), req("kind", isText), req("role", isText)))),
		opt("method", isText), opt("model", isText), opt("route", isText), req("stream", isBool), req("surface", isText),
		opt("tools", listOf(exactly(opt("digest", digestText), req("name", isText)))))
	upstreamForm = exactly(
		req("attempts", count), opt("first_byte_us", count), opt("model", isText), req("name", isText),
		opt("request_id", isText), opt("status", count), opt("total_us", count))
	contentForm  = exactly(req("bytes", count), opt("commit", commitmentForm))
	responseForm = exactly(
		opt("cost_microusd", count), opt("finish_reason", isText), opt("received", contentForm), opt("released", contentForm),
		opt("usage", exactly(req("cached", count), opt("estimated", isBool), req("input", count), req("output", count), req("reasoning", count))))
	streamForm = exactly(req("events", count), req("held_max_bytes", count), req("root", digestText))
	checksForm = listOf(exactly(
		req("bytes", count), req("channel", isText), req("id", isText),
		req("outcome", oneOf("pass", "finding", "error", "timeout", "skipped")),
		opt("reason", isText), req("us", count), req("version", isText)))
	findingsForm = listOf(exactly(
		opt("atlas", isText), req("channel", isText), req("class", isText), req("detector", isText), opt("owasp", isText),
		req("place", exactly(req("length", count), req("offset", count), req("pointer", isText))),
		req("score_ppm", count), opt("threat_class", isText)))
	schemaForm = exactly(
		req("digest", isText), req("lock", isText), opt("repair", exactly(req("digest", isText), req("kind", isText))),
		req("verdict", isText),
		opt("violation", exactly(req("keyword", isText), req("offset", count), req("pointer", isText))))
	policyForm = exactly(
		req("decision", isText), opt("exceptions", listOf(isText)), req("hash", isText),
		req("rules", listOf(exactly(req("action", isText), req("id", isText)))),
		opt("shadow", listOf(exactly(req("decision", isText), req("id", isText)))))
	coverageForm = exactly(req("level", oneOf("full", "partial", "none")), opt("reasons", listOf(isText)))
	verdictForm  = oneOf("executed", "redacted", "repaired", "blocked", "denied", "held", "timeout", "errored",
		"aborted_by_client", "crashed", "deferred")
	runForm = exactly(
		req("id", textUpTo(runIDBytesMax)), opt("parent", textUpTo(runIDBytesMax)),
		opt("parents", ascendingDecimals(parentsMax)), req("prev", digestText), req("seq", decimalText))

	everyReceipt = []formMember{
		req("alg", isText),
		req("boot", exactly(req("epoch", count), req("id", uuidText))),
		req("build", exactly(opt("digest", isText), req("version", isText))),
		req("dur", oneOf("durable", "strict")),
		req("id", uuidText),
		req("key_id", digestText),
		req("kind", isText),
		req("log", isText),
		req("mono_ns", decimalText),
		req("prev", digestText),
		req("seq", decimalText),
		req("ts", timestampText),
		req("v", oneOf(formatVersion)),
	}

	purposeForm = oneOf(purposeLog, purposeReceipt)
	anchorKinds = oneOf("directory", "object", "rfc3161", "opentimestamps", "op_return", "witness")

	receiptForms = map[string]formOf{
		"attempt": ofKind(
			req("caller", callerForm), req("checks", checksForm), req("coverage", coverageForm), opt("ext", anyObject),
			req("findings", findingsForm), req("policy", policyForm), req("request", requestForm), opt("run", runForm)),
		"outcome": ofKind(
			req("attempt_seq", decimalText), req("caller", callerForm), req("checks", checksForm),
			req("coverage", coverageForm), opt("ext", anyObject), req("findings", findingsForm), req("policy", policyForm),
			opt("request", requestForm), opt("response", responseForm), opt("run", runForm), opt("schema", schemaForm),
			opt("stream", streamForm), opt("upstream", upstreamForm), req("verdict", verdictForm)),
		"bypass": ofKind(
			req("caller", callerForm), req("coverage", coverageForm), opt("ext", anyObject), req("policy", policyForm),
			req("request", requestForm), opt("response", responseForm), opt("run", runForm), opt("upstream", upstreamForm),
			opt("verdict", verdictForm)),
		"genesis": event(req("created", timestampText), req("log", isText), opt("policy", isText), req("root", digestText)),
		"boot": event(
			req("clean", isBool), opt("last_seq", decimalText),
			opt("torn", exactly(req("blake3", digestText), req("bytes", count), req("offset", count), req("segment", isText)))),
		"shutdown":      event(req("receipts", count)),
		"policy.change": event(opt("from", isText), req("source", isText), req("to", isText)),
		"degraded":      event(req("reason", isText), req("state", oneOf("entered", "left"))),
		"gap":           event(req("exchanges", count), req("reason", isText)),
		"seal": event(
			req("from", decimalText), req("root", digestText), req("sha256", digestText), req("to", decimalText)),
		"heartbeat":  event(req("receipts", count)),
		"clock.step": event(req("from", timestampText), req("step_us", integer)),
		"key.rotate": event(
			req("new", digestText), req("new_sig", signatureText), req("old", digestText), req("old_sig", signatureText),
			req("purpose", purposeForm), req("valid_from_seq", decimalText)),
		"key.revoke": event(
			req("key_id", digestText), req("last_good_seq", decimalOrNone), req("reason", isText), req("sha256", digestText)),
		"anchor": event(
			opt("at", timestampText), opt("header", hexOfBytes(blockHeaderBytes)), req("kind", anchorKinds),
			req("proof", digestText), opt("ref", isText), req("root", digestText), req("sha256", digestText),
			req("size", decimalText), req("state", oneOf("confirmed", "pending"))),
		"prune": event(
			req("bytes", count), req("from", decimalText), req("root", digestText), req("segments", count),
			req("to", decimalText)),
	}
)

func ofKind(members ...formMember) formOf {
	return exactly(append(append([]formMember(nil), everyReceipt...), members...)...)
}

func event(members ...formMember) formOf { return ofKind(req("event", exactly(members...))) }
