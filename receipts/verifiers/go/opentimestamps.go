package pef

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// OpenTimestamps proofs, by the strict form of SPEC §9.

const (
	otsOperationsDeep   = 256
	otsAttestationsMax  = 1_024
	otsArgumentBytesMax = 4_096
	otsResultBytesMax   = 4_096
	otsPayloadBytesMax  = 8_192
)

var (
	otsMagic          = []byte("\x00OpenTimestamps\x00\x00Proof\x00\xBF\x89\xE2\xE8\x84\xE8\x92\x94")
	otsBitcoin        = []byte{0x05, 0x88, 0x96, 0x0D, 0x73, 0xD7, 0x19, 0x01}
	otsVersion   byte = 1
	otsOpSHA256  byte = 0x08
	otsOpAppend  byte = 0xF0
	otsOpPrepend byte = 0xF1
	otsMore      byte = 0xFF
	otsAttested  byte = 0x00
)

type otsReader struct {
	reader
	attestations int
	// bitcoin holds the messages that Bitcoin attestations stand on: Merkle roots of blocks.
	bitcoin []digest
}

func (c *anchorCheck) openTimestamps(proof []byte) {
	r := otsReader{reader: reader{rest: proof}}
	if !bytes.Equal(r.take(uint64(len(otsMagic))), otsMagic) || r.byte() != otsVersion || r.byte() != otsOpSHA256 {
		c.fail(codeOTSInvalid)
		return
	}
	message := r.take(sha256.Size)
	if r.failed || !r.timestamp(message, 0) || len(r.rest) > 0 {
		c.fail(codeOTSInvalid)
		return
	}
	if !bytes.Equal(message, c.imprint[:]) {
		c.fail(codeImprint)
	}
	headerHex, ok := c.event.textOf("header")
	if !ok {
		c.find(codeOTSPending, Warning, "")
		return
	}
	header, _ := hex.DecodeString(headerHex)
	attested := false
	for _, root := range r.bitcoin {
		attested = attested || bytes.Equal(root[:], header[36:68])
	}
	if !attested || !meetsTarget(header) {
		c.fail(codeOTSInvalid)
	}
}

// timestamp reads a timestamp on a message, which deep operations lead to.
func (r *otsReader) timestamp(message []byte, deep int) bool {
	for {
		tag := r.byte()
		more := tag == otsMore
		if more {
			tag = r.byte()
		}
		if r.failed || !r.item(tag, message, deep) {
			return false
		}
		if !more {
			return true
		}
	}
}

func (r *otsReader) item(tag byte, message []byte, deep int) bool {
	if tag == otsAttested {
		return r.attestation(message)
	}
	if deep == otsOperationsDeep {
		return false
	}
	var result []byte
	switch tag {
	case otsOpSHA256:
		sum := sha256.Sum256(message)
		result = sum[:]
	case otsOpAppend, otsOpPrepend:
		argument := r.counted(otsArgumentBytesMax)
		if r.failed || len(argument) == 0 || len(message)+len(argument) > otsResultBytesMax {
			return false
		}
		result = make([]byte, 0, len(message)+len(argument))
		if tag == otsOpAppend {
			result = append(append(result, message...), argument...)
		} else {
			result = append(append(result, argument...), message...)
		}
	default:
		return false
	}
	return r.timestamp(result, deep+1)
}

func (r *otsReader) attestation(message []byte) bool {
	if r.attestations++; r.attestations > otsAttestationsMax {
		return false
	}
	kind := r.take(8)
	payload := r.counted(otsPayloadBytesMax)
	if r.failed {
		return false
	}
	if !bytes.Equal(kind, otsBitcoin) {
		return true
	}
	height := reader{rest: payload}
	otsNumber(&height)
	if height.failed || len(height.rest) > 0 || len(message) != sha256.Size {
		return false
	}
	r.bitcoin = append(r.bitcoin, digest(message))
	return true
}

func (r *otsReader) counted(max uint64) []byte {
	n := otsNumber(&r.reader)
	if n > max {
		r.failed = true
		return nil
	}
	return r.take(n)
}

// otsNumber reads base 128, lowest seven bits first, in at most five bytes, below 2^32, in its shortest form.
func otsNumber(r *reader) uint64 {
	var n uint64
	for i := 0; i < 5; i++ {
		b := r.byte()
		n |= uint64(b&0x7F) << (7 * i)
		if b&0x80 != 0 {
			continue
		}
		if b == 0 && i > 0 || n >= 1<<32 {
			r.failed = true
		}
		return n
	}
	r.failed = true
	return 0
}
