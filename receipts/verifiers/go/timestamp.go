package pef

import (
	"bytes"
	"math"
)

// Time-stamp responses of RFC 3161, by the strict form of SPEC §9. The signature of the authority is left to the tools
// made for it.

const (
	tagInteger         = 0x02
	tagOctetString     = 0x04
	tagOID             = 0x06
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagSet             = 0x31
	tagExplicit0       = 0xA0
)

var (
	oidSignedData = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02}
	oidTSTInfo    = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x10, 0x01, 0x04}
	oidSHA256     = []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}
)

type element struct {
	tag     byte
	content []byte
}

// elements reads a sequence of elements that fills data to the last byte.
func elements(data []byte) ([]element, bool) {
	r := reader{rest: data}
	var out []element
	for len(r.rest) > 0 && !r.failed {
		e := element{tag: r.byte()}
		if e.tag&0x1F == 0x1F {
			return nil, false
		}
		length := uint64(r.byte())
		if length >= 0x80 {
			count := length & 0x7F
			if count < 1 || count > 4 {
				return nil, false
			}
			digits := r.take(count)
			length = 0
			for _, d := range digits {
				length = length<<8 | uint64(d)
			}
			if r.failed || digits[0] == 0 || length < 0x80 || length > math.MaxUint32 {
				return nil, false
			}
		}
		e.content = r.take(length)
		out = append(out, e)
	}
	return out, !r.failed
}

// inside reads the elements of a constructed element of a tag.
func (e element) inside(tag byte) []element {
	if e.tag != tag {
		return nil
	}
	out, ok := elements(e.content)
	if !ok {
		return nil
	}
	return out
}

func (e element) is(tag byte, content []byte) bool {
	return e.tag == tag && bytes.Equal(e.content, content)
}

// tstInfo finds the TSTInfo in a response, or nothing.
func tstInfo(data []byte) []element {
	whole, ok := elements(data)
	if !ok || len(whole) != 1 {
		return nil
	}
	response := whole[0].inside(tagSequence)
	if len(response) != 2 {
		return nil
	}
	status := response[0].inside(tagSequence)
	if len(status) < 1 || !status[0].is(tagInteger, []byte{0}) && !status[0].is(tagInteger, []byte{1}) {
		return nil
	}
	token := response[1].inside(tagSequence)
	if len(token) != 2 || !token[0].is(tagOID, oidSignedData) {
		return nil
	}
	wrapped := token[1].inside(tagExplicit0)
	if len(wrapped) != 1 {
		return nil
	}
	signed := wrapped[0].inside(tagSequence)
	if len(signed) < 4 || signed[0].tag != tagInteger || signed[1].tag != tagSet {
		return nil
	}
	if last := signed[len(signed)-1]; last.tag != tagSet || len(last.content) == 0 {
		return nil
	}
	content := signed[2].inside(tagSequence)
	if len(content) != 2 || !content[0].is(tagOID, oidTSTInfo) {
		return nil
	}
	octets := content[1].inside(tagExplicit0)
	if len(octets) != 1 || octets[0].tag != tagOctetString {
		return nil
	}
	inner, ok := elements(octets[0].content)
	if !ok || len(inner) != 1 {
		return nil
	}
	return inner[0].inside(tagSequence)
}

func (c *anchorCheck) timeStamp(proof []byte) {
	info := tstInfo(proof)
	if len(info) < 5 || !info[0].is(tagInteger, []byte{1}) || info[1].tag != tagOID || info[3].tag != tagInteger ||
		info[4].tag != tagGeneralizedTime || !isGeneralizedTime(string(info[4].content)) {
		c.fail(codeTSA)
		return
	}
	imprint := info[2].inside(tagSequence)
	if len(imprint) != 2 || imprint[1].tag != tagOctetString {
		c.fail(codeTSA)
		return
	}
	algorithm := imprint[0].inside(tagSequence)
	if len(algorithm) < 1 || algorithm[0].tag != tagOID {
		c.fail(codeTSA)
		return
	}
	if !algorithm[0].is(tagOID, oidSHA256) || !bytes.Equal(imprint[1].content, c.imprint[:]) {
		c.fail(codeImprint)
	}
	at, ok := c.event.textOf("at")
	if !ok || digitsToSecond(at) != string(info[4].content[:14]) {
		c.fail(codeAnchorTime)
	}
}

// isGeneralizedTime checks YYYYMMDDhhmmssZ or YYYYMMDDhhmmss. with one to nine digits and Z.
func isGeneralizedTime(s string) bool {
	const plain = "00000000000000Z"
	if len(s) < len(plain) || !matches(s[:14], plain[:14], '0', isDigit) || s[len(s)-1] != 'Z' {
		return false
	}
	fraction := s[14 : len(s)-1]
	if fraction == "" {
		return true
	}
	if fraction[0] != '.' || len(fraction) < 2 || len(fraction) > 10 {
		return false
	}
	for i := 1; i < len(fraction); i++ {
		if !isDigit(fraction[i]) {
			return false
		}
	}
	return true
}

// digitsToSecond gives the fourteen digits of a timestamp down to its second.
func digitsToSecond(ts string) string {
	digits := make([]byte, 0, 20)
	for i := 0; i < len(ts); i++ {
		if isDigit(ts[i]) {
			digits = append(digits, ts[i])
		}
	}
	if len(digits) < 14 {
		return ""
	}
	return string(digits[:14])
}
