package pef

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"lukechampine.com/blake3"
)

// The primitives of SPEC §1 and §5: digests, texts of fixed form, chain values, and what is signed.

type digest = [32]byte

// derive is BLAKE3 in derive-key mode.
func derive(context string, input []byte) (out digest) {
	blake3.DeriveKey(out[:], context, input)
	return out
}

const (
	contextChain   = "pef.v0 receipt chain"
	contextGenesis = "pef.v0 genesis"
	contextRun     = "pef.v0 run"
	contextCustody = "pef.v0 custody"
)

// chainValue is the chain value of a receipt (SPEC §5).
func chainValue(seq uint64, body []byte) digest {
	input := make([]byte, 12, 12+len(body))
	binary.BigEndian.PutUint64(input, seq)
	binary.BigEndian.PutUint32(input[8:], uint32(len(body)))
	return derive(contextChain, append(input, body...))
}

// pae is the pre-authentication encoding of DSSE.
func pae(payloadType string, payload []byte) []byte {
	out := make([]byte, 0, len(payloadType)+len(payload)+32)
	out = append(out, "DSSEv1 "...)
	out = strconv.AppendInt(out, int64(len(payloadType)), 10)
	out = append(out, ' ')
	out = append(out, payloadType...)
	out = append(out, ' ')
	out = strconv.AppendInt(out, int64(len(payload)), 10)
	out = append(out, ' ')
	return append(out, payload...)
}

func hexOf(d digest) string { return hex.EncodeToString(d[:]) }

// parseHex reads lower-case hexadecimal of exactly len(out) bytes.
func parseHex(out []byte, s string) bool {
	if len(s) != 2*len(out) || !isLowerHex(s) {
		return false
	}
	_, err := hex.Decode(out, []byte(s))
	return err == nil
}

func isLowerHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func parseDigest(s string) (d digest, ok bool) { return d, parseHex(d[:], s) }

// parseBase64 reads RFC 4648 §4 with padding, unused bits zero and no line ends.
func parseBase64(s string) ([]byte, bool) {
	out, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodedLen(len(out)) != len(s) {
		return nil, false
	}
	return out, true
}

// parseDecimal reads digits only, without a leading zero, up to 2^64 - 1.
func parseDecimal(s string) (uint64, bool) {
	if s == "" || len(s) > 20 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func formatDecimal(n uint64) string { return strconv.FormatUint(n, 10) }

// isTimestamp checks the pattern of SPEC §2, digits where digits stand: timestamps are compared as texts.
func isTimestamp(s string) bool { return matches(s, "0000-00-00T00:00:00.000000Z", '0', isDigit) }

// isUUID checks the pattern of a UUID in lower case.
func isUUID(s string) bool {
	return matches(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", 'x', func(c byte) bool {
		return isDigit(c) || c >= 'a' && c <= 'f'
	})
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func matches(s, pattern string, wild byte, class func(byte) bool) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if pattern[i] == wild {
			if !class(s[i]) {
				return false
			}
		} else if s[i] != pattern[i] {
			return false
		}
	}
	return true
}

// isOrigin checks the name of a log: 1 to 240 visible ASCII characters without a plus sign (SPEC §3).
func isOrigin(s string) bool {
	if len(s) == 0 || len(s) > 240 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '+' {
			return false
		}
	}
	return true
}

func sha256Hex(b []byte) string { return hexOf(sha256.Sum256(b)) }
