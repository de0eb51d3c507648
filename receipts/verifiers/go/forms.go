package pef

import (
	"strconv"
	"strings"
)

// Forms of documents: which members, and of what form. A form reports every departure with its JSON pointer: E206 for
// what is missing or not of its form, E207 for members that are not known.

// formOf checks v, which stands at pointer, and reports by calling report.
type formOf func(v *value, pointer string, report func(code, pointer string))

type formMember struct {
	name     string
	form     formOf
	required bool
}

func req(name string, form formOf) formMember { return formMember{name, form, true} }
func opt(name string, form formOf) formMember { return formMember{name, form, false} }

// exactly is an object of these members and no others.
func exactly(members ...formMember) formOf {
	known := make(map[string]formMember, len(members))
	for _, m := range members {
		known[m.name] = m
	}
	return func(v *value, pointer string, report func(code, pointer string)) {
		if v.kind != kindObject {
			report(codeSchema, pointer)
			return
		}
		for _, m := range members {
			if m.required && v.get(m.name) == nil {
				report(codeSchema, pointer+"/"+m.name)
			}
		}
		for _, m := range v.object {
			at := pointer + "/" + pointerToken(m.name)
			if k, ok := known[m.name]; ok {
				k.form(m.value, at, report)
			} else {
				report(codeUnknownField, at)
			}
		}
	}
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func pointerToken(name string) string { return pointerEscapes.Replace(name) }

// fits says whether v has the form, where only that matters.
func fits(form formOf, v *value) bool {
	ok := true
	form(v, "", func(string, string) { ok = false })
	return ok
}

func when(good func(v *value) bool) formOf {
	return func(v *value, pointer string, report func(code, pointer string)) {
		if !good(v) {
			report(codeSchema, pointer)
		}
	}
}

func whenText(good func(s string) bool) formOf {
	return when(func(v *value) bool { return v.kind == kindText && good(v.text) })
}

var (
	anyValue      = when(func(*value) bool { return true })
	anyObject     = when(func(v *value) bool { return v.kind == kindObject })
	isText        = when(func(v *value) bool { return v.kind == kindText })
	isBool        = when(func(v *value) bool { return v.kind == kindBool })
	count         = when(func(v *value) bool { return v.kind == kindNumber && v.number >= 0 })
	integer       = when(func(v *value) bool { return v.kind == kindNumber })
	digestText    = whenText(func(s string) bool { return len(s) == 64 && isLowerHex(s) })
	decimalText   = whenText(func(s string) bool { _, ok := parseDecimal(s); return ok })
	decimalOrNone = whenText(func(s string) bool { _, ok := parseDecimal(s); return ok || s == "none" })
	timestampText = whenText(isTimestamp)
	uuidText      = whenText(isUUID)
	base64Text    = whenText(func(s string) bool { _, ok := parseBase64(s); return ok })
	signatureText = whenText(func(s string) bool { b, ok := parseBase64(s); return ok && len(b) == signatureBytes })
	keyText       = whenText(func(s string) bool { b, ok := parseBase64(s); return ok && len(b) == publicKeyBytes })
	originText    = whenText(isOrigin)
)

func textUpTo(bytes int) formOf { return whenText(func(s string) bool { return len(s) <= bytes }) }

func hexOfBytes(bytes int) formOf {
	return whenText(func(s string) bool { return len(s) == 2*bytes && isLowerHex(s) })
}

func oneOf(words ...string) formOf {
	return whenText(func(s string) bool {
		for _, w := range words {
			if s == w {
				return true
			}
		}
		return false
	})
}

func listOf(item formOf) formOf {
	return func(v *value, pointer string, report func(code, pointer string)) {
		if v.kind != kindList {
			report(codeSchema, pointer)
			return
		}
		for i, child := range v.list {
			item(child, pointer+"/"+strconv.Itoa(i), report)
		}
	}
}

// ascendingTexts is a list of at most max items of a form, each a text after the one before.
func ascendingTexts(max int, item formOf) formOf {
	return orderedList(max, item, func(a, b *value) bool { return a.text < b.text })
}

// ascendingDecimals is a list of at most max decimals, each larger than the one before.
func ascendingDecimals(max int) formOf {
	return orderedList(max, decimalText, func(a, b *value) bool {
		m, _ := parseDecimal(a.text)
		n, _ := parseDecimal(b.text)
		return m < n
	})
}

func orderedList(max int, item formOf, before func(a, b *value) bool) formOf {
	items := listOf(item)
	return func(v *value, pointer string, report func(code, pointer string)) {
		items(v, pointer, report)
		// Whether it is in order is asked of entries that are of their form.
		if !fits(items, v) {
			return
		}
		good := len(v.list) <= max
		for i := 1; i < len(v.list); i++ {
			good = good && before(v.list[i-1], v.list[i])
		}
		if !good {
			report(codeSchema, pointer)
		}
	}
}

// counts is an object of counts under any names.
func countsByName(v *value, pointer string, report func(code, pointer string)) {
	if v.kind != kindObject {
		report(codeSchema, pointer)
		return
	}
	for _, m := range v.object {
		count(m.value, pointer+"/"+pointerToken(m.name), report)
	}
}
