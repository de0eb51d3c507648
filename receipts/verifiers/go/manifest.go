package pef

// manifest.json and the statement that is signed over it (SPEC §8).

const (
	aboutListMax = 256

	memberStatement  = "manifest.dsse.json"
	memberCustody    = "custody.jsonl"
	statementVersion = "https://in-toto.io/Statement/v1"
	predicateType    = "urn:pef:bundle:v0"
)

var (
	quantilesForm = exactly(req("max", count), req("p50", count), req("p90", count), req("p99", count))
	aboutTexts    = ascendingTexts(aboutListMax, isText)
	aboutForm     = exactly(
		req("automation", exactly(req("job_ids", aboutTexts), req("pipeline_ids", aboutTexts), req("service_ids", aboutTexts))),
		req("builds", aboutTexts),
		req("performance", exactly(
			req("exchanges", count), req("first_byte_us", quantilesForm), req("total_us", quantilesForm))),
		req("schemas", ascendingTexts(aboutListMax, digestText)), req("sdks", aboutTexts), req("worm", aboutTexts))
	manifestForm = exactly(
		req("about", aboutForm), req("chain", digestText), req("created", timestampText),
		req("files", listOf(exactly(
			req("blake3", digestText), req("path", isText), req("sha256", digestText), req("size", count)))),
		req("from", decimalText), req("kinds", countsByName), req("log", isText), req("prev", digestText),
		req("root", digestText), req("to", decimalText), req("v", isText), req("verdicts", countsByName))
)

type listedFile struct {
	path           string
	size           uint64
	sha256, blake3 digest
}

type manifest struct {
	raw         []byte
	log         string
	from, to    uint64
	chain, prev digest
	root        digest
	files       []listedFile
	kinds       map[string]uint64
	verdicts    map[string]uint64
}

// readManifest reads a manifest. It may be used unless it is nil; report is told what is wrong, with pointers.
func readManifest(data []byte, report func(code, pointer string)) *manifest {
	doc, canonical, code := parseJSON(data, largeJSON)
	if code != "" {
		report(code, "")
		return nil
	}
	if !canonical {
		report(codeManifestForm, "")
	}
	if version, ok := doc.textOf("v"); ok && version != formatVersion {
		report(codeVersion, "")
		return nil
	}
	good := true
	manifestForm(doc, "", func(code, pointer string) {
		good = false
		report(code, "#"+pointer)
	})
	if !good {
		return nil
	}
	m := &manifest{raw: data, kinds: countsIn(doc.get("kinds")), verdicts: countsIn(doc.get("verdicts"))}
	m.log, _ = doc.textOf("log")
	m.from, _ = doc.decimalOf("from")
	m.to, _ = doc.decimalOf("to")
	digestOf := func(v *value, name string) digest { s, _ := v.textOf(name); return mustDigest(s) }
	m.chain, m.prev, m.root = digestOf(doc, "chain"), digestOf(doc, "prev"), digestOf(doc, "root")
	for _, f := range doc.get("files").list {
		path, _ := f.textOf("path")
		m.files = append(m.files, listedFile{
			path, uint64(f.get("size").number), digestOf(f, "sha256"), digestOf(f, "blake3"),
		})
	}
	ascending := true
	for i := 1; i < len(m.files); i++ {
		ascending = ascending && m.files[i-1].path < m.files[i].path
	}
	if m.from >= m.to || !ascending {
		report(codeSchema, "")
	}
	return m
}

func countsIn(v *value) map[string]uint64 {
	counts := make(map[string]uint64, len(v.object))
	for _, m := range v.object {
		counts[m.name] = uint64(m.value.number)
	}
	return counts
}

// statement derives what the log key signs.
func (m *manifest) statement() []byte {
	subject := func(name, sha string) *value {
		return object(member{"digest", object(member{"sha256", text(sha)})}, member{"name", text(name)})
	}
	subjects := []*value{subject(memberManifest, sha256Hex(m.raw))}
	for _, f := range m.files {
		subjects = append(subjects, subject(f.path, hexOf(f.sha256)))
	}
	return canonicalJSON(object(
		member{"_type", text(statementVersion)},
		member{"predicate", object(
			member{"from", text(formatDecimal(m.from))}, member{"log", text(m.log)},
			member{"to", text(formatDecimal(m.to))}, member{"v", text(formatVersion)})},
		member{"predicateType", text(predicateType)},
		member{"subject", list(subjects...)},
	))
}
