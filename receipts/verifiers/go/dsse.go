package pef

// DSSE envelopes of the one form that SPEC §5 allows.

const (
	typeReceipt    = "application/vnd.pef.receipt.v0+json"
	typeKey        = "application/vnd.pef.key.v0+json"
	typeRevocation = "application/vnd.pef.revocation.v0+json"
	typeRotation   = "application/vnd.pef.rotation.v0+json"
	typeCustody    = "application/vnd.pef.custody.v0+json"
	typeStatement  = "application/vnd.in-toto+json"
)

type envelope struct {
	payload     []byte
	payloadType string
	keyID       string
	sig         []byte
}

// readEnvelope takes an envelope out of a document: exactly payload, payloadType and one signature of 64 bytes.
func readEnvelope(v *value) (e envelope, ok bool) {
	if v.kind != kindObject || len(v.object) != 3 {
		return e, false
	}
	payload, okPayload := v.textOf("payload")
	payloadType, okType := v.textOf("payloadType")
	signatures := v.get("signatures")
	if !okPayload || !okType || signatures == nil || signatures.kind != kindList || len(signatures.list) != 1 {
		return e, false
	}
	signature := signatures.list[0]
	if signature.kind != kindObject || len(signature.object) != 2 {
		return e, false
	}
	keyID, okID := signature.textOf("keyid")
	sig, okSig := signature.textOf("sig")
	if !okID || !okSig {
		return e, false
	}
	e.payloadType, e.keyID = payloadType, keyID
	if e.payload, ok = parseBase64(payload); !ok {
		return e, false
	}
	if e.sig, ok = parseBase64(sig); !ok || len(e.sig) != signatureBytes {
		return e, false
	}
	return e, true
}

// appendEnvelope writes the canonical envelope of a receipt, as it is the leaf of the tree.
func appendEnvelope(out []byte, payload []byte, payloadType, keyID string, sig []byte) []byte {
	return appendJSON(out, object(
		member{"payload", text(base64Of(payload))},
		member{"payloadType", text(payloadType)},
		member{"signatures", list(object(member{"keyid", text(keyID)}, member{"sig", text(base64Of(sig))}))},
	))
}
