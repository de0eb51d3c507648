package pef

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Witness policies (C2SP tlog-policy) and cosignatures (C2SP tlog-cosignature). Only witness, group and quorum lines
// matter here: which logs are trusted is for the trust file to say.

// PolicyBytesMax is the longest witness policy that is read.
const PolicyBytesMax = 64 << 10

// Names that a policy may define: eight times what the specification asks an implementation to support.
const policyNamesMax = 512

const cosignatureBytes = 8 + signatureBytes

// policyTerm is a witness or a group of terms defined before it.
type policyTerm struct {
	witness   *publicKey
	threshold int
	members   []int
}

// WitnessPolicy is a quorum of witnesses.
type WitnessPolicy struct {
	terms []policyTerm
	// quorum is the index of a term, or -1 for none.
	quorum int
}

// ParseWitnessPolicy reads a policy file.
func ParseWitnessPolicy(data []byte) (*WitnessPolicy, error) {
	if len(data) > PolicyBytesMax {
		return nil, fmt.Errorf("larger than %d bytes", PolicyBytesMax)
	}
	for i, c := range data {
		if c < 0x20 && c != '\n' && c != '\t' || c == 0x7f {
			return nil, fmt.Errorf("byte %d: control character", i)
		}
	}
	p := &WitnessPolicy{quorum: -1}
	names := map[string]int{}
	member := map[string]bool{}
	keys := map[string]bool{}
	haveQuorum := false
	for number, line := range strings.Split(string(data), "\n") {
		fail := func(what string) (*WitnessPolicy, error) {
			return nil, fmt.Errorf("line %d: %s", number+1, what)
		}
		fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		define := func(name string, t policyTerm) string {
			if _, met := names[name]; met || name == "none" {
				return "name is defined already: " + name
			}
			if len(p.terms) == policyNamesMax {
				return fmt.Sprintf("more than %d names", policyNamesMax)
			}
			names[name] = len(p.terms)
			p.terms = append(p.terms, t)
			return ""
		}
		switch fields[0] {
		case "log":
			if len(fields) < 2 || len(fields) > 3 {
				return fail("a log has a key and perhaps a URL")
			}
		case "witness":
			if len(fields) < 3 || len(fields) > 4 {
				return fail("a witness has a name, a key and perhaps a URL")
			}
			key, ok := parseVKey(fields[2], algCosignature)
			if !ok || weakKey(key.pub) {
				return fail("not a cosignature key of type 4")
			}
			if keys[string(key.pub)] {
				return fail("key is given already")
			}
			keys[string(key.pub)] = true
			if fault := define(fields[1], policyTerm{witness: &key}); fault != "" {
				return fail(fault)
			}
		case "group":
			if len(fields) < 4 {
				return fail("a group has a name, a threshold and members")
			}
			t := policyTerm{}
			for _, name := range fields[3:] {
				at, defined := names[name]
				if !defined || member[name] {
					return fail("member is not defined before or in a group already: " + name)
				}
				member[name] = true
				t.members = append(t.members, at)
			}
			switch k := fields[2]; k {
			case "any":
				t.threshold = 1
			case "all":
				t.threshold = len(t.members)
			default:
				n, ok := parseDecimal(k)
				if !ok || n < 1 || n > uint64(len(t.members)) {
					return fail("threshold is not any, all or a number from 1 to that of the members")
				}
				t.threshold = int(n)
			}
			if fault := define(fields[1], t); fault != "" {
				return fail(fault)
			}
		case "quorum":
			if len(fields) != 2 || haveQuorum {
				return fail("one quorum with one name is allowed")
			}
			haveQuorum = true
			if fields[1] != "none" {
				at, defined := names[fields[1]]
				if !defined {
					return fail("name is not defined before: " + fields[1])
				}
				p.quorum = at
			}
		default:
			return fail("neither log, witness, group nor quorum")
		}
	}
	if !haveQuorum {
		return nil, fmt.Errorf("no quorum line")
	}
	return p, nil
}

// check looks at the cosignatures of a checkpoint: one that is wrong, and whether the quorum is met.
func (p *WitnessPolicy) check(c *checkpoint) (codes []string) {
	cosigned := make([]bool, len(p.terms))
	wrong := false
	for i, t := range p.terms {
		if t.witness == nil {
			have := 0
			for _, m := range t.members {
				if cosigned[m] {
					have++
				}
			}
			cosigned[i] = have >= t.threshold
			continue
		}
		for _, line := range c.signatures {
			if line.name != t.witness.name || line.hash != t.witness.hash() {
				continue
			}
			if verifyCosignature(t.witness, c.text, line.sig) {
				cosigned[i] = true
			} else {
				wrong = true
			}
		}
	}
	if wrong {
		codes = append(codes, codeNoteSig)
	}
	if p.quorum >= 0 && !cosigned[p.quorum] {
		codes = append(codes, codeQuorum)
	}
	return codes
}

func verifyCosignature(key *publicKey, noteText, sig []byte) bool {
	if len(sig) != cosignatureBytes {
		return false
	}
	message := "cosignature/v1\ntime " + strconv.FormatUint(binary.BigEndian.Uint64(sig), 10) + "\n" + string(noteText)
	return key.verify([]byte(message), sig[8:])
}
