package pef

import (
	"sort"
	"strconv"
	"unicode/utf8"
)

// Canonical JSON of SPEC §2, read from bytes: RFC 8785 with integers only, ASCII member names, no repeated names and no
// unpaired surrogates. The reader keeps the first fault in the order of the bytes; whether the bytes are the canonical
// spelling of what was read is told apart from whether they could be read.

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindText
	kindList
	kindObject
)

// value is a JSON value. Only the field of its kind is set.
type value struct {
	kind    kind
	boolean bool
	number  int64
	text    string
	list    []*value
	object  []member
}

type member struct {
	name  string
	value *value
}

// jsonLimits bounds a document: bytes, values (containers included) and nesting of containers.
type jsonLimits struct {
	bytes, values, depth int
}

var (
	// Receipt bodies, envelope lines, certificates, frontier.json (SPEC §2).
	smallJSON = jsonLimits{65_536, 32_768, 32}
	// manifest.json, manifest.dsse.json, keys.json, and what anchors and event proofs consist of.
	largeJSON = jsonLimits{8 << 20, 262_144, 32}
)

// The largest integer that JSON readers agree on, 2^53 - 1.
const numberMax = 1<<53 - 1

// Objects of more members than this are checked for repeated names with a map.
const linearNames = 16

type jsonReader struct {
	data   []byte
	at     int
	values int
	limits jsonLimits
}

// parseJSON reads a whole document. code is empty or the first fault; canonical says whether the bytes are the canonical
// spelling and means something only when code is empty.
func parseJSON(data []byte, limits jsonLimits) (v *value, canonical bool, code string) {
	if len(data) > limits.bytes {
		return nil, false, codeLimit
	}
	if !utf8.Valid(data) {
		return nil, false, codeUTF8
	}
	r := jsonReader{data: data, limits: limits}
	r.space()
	v, code = r.value(0)
	if code != "" {
		return nil, false, code
	}
	r.space()
	if r.at != len(data) {
		return nil, false, codeJSON
	}
	written := appendJSON(make([]byte, 0, len(data)), v)
	return v, string(written) == string(data), ""
}

func (r *jsonReader) space() {
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// peek gives the next byte, or 0 at the end: no JSON token begins with 0.
func (r *jsonReader) peek() byte {
	if r.at < len(r.data) {
		return r.data[r.at]
	}
	return 0
}

func (r *jsonReader) take(c byte) bool {
	if r.at < len(r.data) && r.data[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *jsonReader) word(w string) bool {
	if len(r.data)-r.at >= len(w) && string(r.data[r.at:r.at+len(w)]) == w {
		r.at += len(w)
		return true
	}
	return false
}

func (r *jsonReader) value(depth int) (*value, string) {
	if r.values++; r.values > r.limits.values {
		return nil, codeLimit
	}
	switch c := r.peek(); {
	case c == '{':
		if depth == r.limits.depth {
			return nil, codeLimit
		}
		return r.objectValue(depth + 1)
	case c == '[':
		if depth == r.limits.depth {
			return nil, codeLimit
		}
		return r.listValue(depth + 1)
	case c == '"':
		text, code := r.textValue()
		return &value{kind: kindText, text: text}, code
	case c == '-' || c >= '0' && c <= '9':
		return r.numberValue()
	case r.word("true"):
		return &value{kind: kindBool, boolean: true}, ""
	case r.word("false"):
		return &value{kind: kindBool}, ""
	case r.word("null"):
		return &value{kind: kindNull}, ""
	}
	return nil, codeJSON
}

func (r *jsonReader) objectValue(depth int) (*value, string) {
	r.at++
	v := &value{kind: kindObject}
	r.space()
	if r.take('}') {
		return v, ""
	}
	var names map[string]struct{}
	for {
		r.space()
		if r.peek() != '"' {
			return nil, codeJSON
		}
		name, code := r.textValue()
		if code != "" {
			return nil, code
		}
		for i := 0; i < len(name); i++ {
			if name[i] >= utf8.RuneSelf {
				return nil, codeUTF8
			}
		}
		if names == nil && len(v.object) == linearNames {
			names = make(map[string]struct{}, 2*linearNames)
			for _, m := range v.object {
				names[m.name] = struct{}{}
			}
		}
		if names != nil {
			if _, met := names[name]; met {
				return nil, codeDupKey
			}
			names[name] = struct{}{}
		} else if v.get(name) != nil {
			return nil, codeDupKey
		}
		r.space()
		if !r.take(':') {
			return nil, codeJSON
		}
		r.space()
		child, code := r.value(depth)
		if code != "" {
			return nil, code
		}
		v.object = append(v.object, member{name, child})
		r.space()
		if r.take('}') {
			return v, ""
		}
		if !r.take(',') {
			return nil, codeJSON
		}
	}
}

func (r *jsonReader) listValue(depth int) (*value, string) {
	r.at++
	v := &value{kind: kindList}
	r.space()
	if r.take(']') {
		return v, ""
	}
	for {
		r.space()
		child, code := r.value(depth)
		if code != "" {
			return nil, code
		}
		v.list = append(v.list, child)
		r.space()
		if r.take(']') {
			return v, ""
		}
		if !r.take(',') {
			return nil, codeJSON
		}
	}
}

func (r *jsonReader) numberValue() (*value, string) {
	begin := r.at
	negative := r.take('-')
	digits := r.at
	for r.at < len(r.data) && r.data[r.at] >= '0' && r.data[r.at] <= '9' {
		r.at++
	}
	length := r.at - digits
	if length == 0 || length > 1 && r.data[digits] == '0' {
		return nil, codeJSON
	}
	switch r.peek() {
	case '.', 'e', 'E':
		return nil, codeNumber
	}
	number, err := strconv.ParseInt(string(r.data[begin:r.at]), 10, 64)
	if err != nil || number > numberMax || number < -numberMax || negative && number == 0 {
		return nil, codeNumber
	}
	return &value{kind: kindNumber, number: number}, ""
}

func (r *jsonReader) textValue() (string, string) {
	r.at++
	begin := r.at
	for r.at < len(r.data) {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			return string(r.data[begin : r.at-1]), ""
		case c == '\\':
			return r.escapedText(begin)
		case c < 0x20:
			return "", codeJSON
		}
		r.at++
	}
	return "", codeJSON
}

// escapedText goes on with a text that holds an escape, at the first of which the reader stands.
func (r *jsonReader) escapedText(begin int) (string, string) {
	out := append([]byte(nil), r.data[begin:r.at]...)
	for r.at < len(r.data) {
		c := r.data[r.at]
		r.at++
		switch {
		case c == '"':
			return string(out), ""
		case c < 0x20:
			return "", codeJSON
		case c != '\\':
			out = append(out, c)
			continue
		}
		c = r.peek()
		r.at++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			unit, ok := r.hex4()
			if !ok {
				return "", codeJSON
			}
			if unit >= 0xDC00 && unit <= 0xDFFF {
				return "", codeUTF8
			}
			if unit >= 0xD800 && unit <= 0xDBFF {
				if !r.word(`\u`) {
					return "", codeUTF8
				}
				low, ok := r.hex4()
				if !ok {
					return "", codeJSON
				}
				if low < 0xDC00 || low > 0xDFFF {
					return "", codeUTF8
				}
				unit = 0x10000 + (unit-0xD800)<<10 + (low - 0xDC00)
			}
			out = utf8.AppendRune(out, unit)
		default:
			return "", codeJSON
		}
	}
	return "", codeJSON
}

func (r *jsonReader) hex4() (rune, bool) {
	if len(r.data)-r.at < 4 {
		return 0, false
	}
	var unit rune
	for _, c := range r.data[r.at : r.at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	r.at += 4
	return unit, true
}

// get gives the member of an object, or nil.
func (v *value) get(name string) *value {
	if v == nil || v.kind != kindObject {
		return nil
	}
	for i := range v.object {
		if v.object[i].name == name {
			return v.object[i].value
		}
	}
	return nil
}

// textOf gives the text of a member and whether it is one.
func (v *value) textOf(name string) (string, bool) {
	m := v.get(name)
	if m == nil || m.kind != kindText {
		return "", false
	}
	return m.text, true
}

// decimalOf gives the number that a member spells as a decimal text.
func (v *value) decimalOf(name string) (uint64, bool) {
	text, ok := v.textOf(name)
	if !ok {
		return 0, false
	}
	return parseDecimal(text)
}

// appendJSON writes the canonical spelling.
func appendJSON(out []byte, v *value) []byte {
	switch v.kind {
	case kindNull:
		return append(out, "null"...)
	case kindBool:
		return strconv.AppendBool(out, v.boolean)
	case kindNumber:
		return strconv.AppendInt(out, v.number, 10)
	case kindText:
		return appendText(out, v.text)
	case kindList:
		out = append(out, '[')
		for i, child := range v.list {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, child)
		}
		return append(out, ']')
	}
	members := v.object
	byName := func(i, j int) bool { return members[i].name < members[j].name }
	if !sort.SliceIsSorted(members, byName) {
		members = append([]member(nil), members...)
		sort.Slice(members, byName)
	}
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendText(out, m.name), ':')
		out = appendJSON(out, m.value)
	}
	return append(out, '}')
}

func appendText(out []byte, text string) []byte {
	const digits = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, '\\', 'b')
		case '\f':
			out = append(out, '\\', 'f')
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			if c < 0x20 {
				out = append(out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}

// Builders for documents that a verifier derives: the statement of a manifest, what a rotation signs, an envelope.

func text(s string) *value { return &value{kind: kindText, text: s} }

func list(items ...*value) *value { return &value{kind: kindList, list: items} }

func object(members ...member) *value { return &value{kind: kindObject, object: members} }

func canonicalJSON(v *value) []byte { return appendJSON(nil, v) }
