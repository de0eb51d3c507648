package pef

import "fmt"

// The verdict as one canonical JSON document (SPEC §9).

// JSON is the canonical verdict.
func (v *Verdict) JSON() []byte {
	assurance := "integrity"
	if v.Origin {
		assurance = "origin"
	}
	list := &value{kind: kindList}
	for i := range v.Findings {
		f := &v.Findings[i]
		seq := &value{kind: kindNull}
		if f.HasSeq {
			seq = text(formatDecimal(f.Seq))
		}
		list.list = append(list.list, object(
			member{"code", text(f.Code)}, member{"name", text(f.Name())}, member{"path", text(f.Path)}, member{"seq", seq},
			member{"severity", text(string(f.Severity))}))
	}
	st := &v.Stats
	first, last := &value{kind: kindNull}, &value{kind: kindNull}
	if st.Receipts > 0 {
		first, last = text(formatDecimal(st.FirstSeq)), text(formatDecimal(st.LastSeq))
	}
	logs := &value{kind: kindList}
	for _, log := range st.Logs {
		logs.list = append(logs.list, text(log))
	}
	return canonicalJSON(object(
		member{"assurance", text(assurance)},
		member{"findings", list},
		member{"findings_dropped", number(v.FindingsDropped)},
		member{"ok", &value{kind: kindBool, boolean: v.OK}},
		member{"stats", object(
			member{"bundles", number(st.Bundles)}, member{"checkpoints", number(st.Checkpoints)},
			member{"first_seq", first}, member{"kinds", countsOf(st.Kinds)}, member{"last_seq", last},
			member{"logs", logs}, member{"receipts", number(st.Receipts)}, member{"segments", number(st.Segments)},
			member{"verdicts", countsOf(st.Verdicts)})},
		member{"v", text(formatVersion)},
	))
}

// ErrorJSON is the document in place of a verdict where there is nothing to verify.
func ErrorJSON(err error) []byte {
	return canonicalJSON(object(member{"error", text(toValidText(fmt.Sprint(err)))}))
}

func number(n uint64) *value { return &value{kind: kindNumber, number: int64(n)} }

func countsOf(counts map[string]uint64) *value {
	v := object()
	for name, n := range counts {
		v.object = append(v.object, member{name, number(n)})
	}
	return v
}
