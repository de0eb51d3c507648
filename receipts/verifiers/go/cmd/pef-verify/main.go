// Command pef-verify checks evidence in the portable evidence format offline, without trust in whoever handed it over.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	pef "clyra.dev/receipts/verifiers/go"
)

const (
	exitGood  = 0
	exitBad   = 1
	exitUsage = 2
)

// Longest file of an option that is read: verifier keys and checkpoints have a few hundred bytes, witness policies a few
// thousand.
const optionBytesMax = 64 << 10

// Largest event that is read to be held against an event proof.
const eventBytesMax = 64 << 20

// Longest line of a batch: a few paths.
const batchLineMax = 1 << 20

const usage = `Verify bundles, journals, data directories and proofs offline.

Usage: pef-verify [OPTIONS] PATH...
       pef-verify --batch < cases.jsonl

Reports everything that is wrong, each with a stable code and its place. Status 0 if nothing is, 1 if something is, 2 if
there is nothing that can be verified. Without --root it can tell that the evidence is whole and agrees with itself, but
not whose it is.

Options:
  --root VKEY|FILE         root key that you were given apart from the evidence
  --checkpoint FILE        checkpoint of the log that you kept: it must not have shrunk or changed since
  --witness-policy FILE    witnesses that must have cosigned (C2SP tlog-policy)
  --event FILE             event whose release an event proof is to show
  --json                   print the canonical verdict, a JSON document
  --batch                  read JSON Lines {"inputs":[…],"root"?,"checkpoint"?,"witness_policy"?,"event"?} from standard
                           input and print a verdict for each line, or {"error":…} where it could not run

Example: pef-verify --root "$(cat root.vkey)" evidence/0-1842.pef
`

// request is what the command line, or a line of a batch, asks for.
type request struct {
	Inputs        []string `json:"inputs"`
	Root          string   `json:"root"`
	Checkpoint    string   `json:"checkpoint"`
	WitnessPolicy string   `json:"witness_policy"`
	Event         string   `json:"event"`
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, in io.Reader, out, words io.Writer) int {
	var r request
	flags := flag.NewFlagSet("pef-verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&r.Root, "root", "", "")
	flags.StringVar(&r.Checkpoint, "checkpoint", "", "")
	flags.StringVar(&r.WitnessPolicy, "witness-policy", "", "")
	flags.StringVar(&r.Event, "event", "", "")
	asJSON := flags.Bool("json", false, "")
	asBatch := flags.Bool("batch", false, "")
	inputs, err := parse(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return exitGood
	case err != nil:
		fmt.Fprintf(words, "pef-verify: %v; --help tells more\n", err)
		return exitUsage
	case *asBatch:
		return batch(in, out, words)
	}
	r.Inputs = inputs
	verdict, err := r.verify()
	if err != nil {
		fmt.Fprintf(words, "pef-verify: %v\n", err)
		return exitUsage
	}
	if *asJSON {
		_, err = fmt.Fprintf(out, "%s\n", verdict.JSON())
	} else {
		err = writeText(out, verdict)
	}
	if err != nil {
		fmt.Fprintf(words, "pef-verify: %v\n", err)
		return exitUsage
	}
	if !verdict.Origin {
		fmt.Fprintln(words, "Whose evidence it is was not checked: pass the log's root key with --root.")
	}
	fmt.Fprintln(words, "No evidence can show a tail that was dropped after the last checkpoint that anybody kept, or a request\n"+
		"that was never logged.")
	if !verdict.OK {
		return exitBad
	}
	return exitGood
}

// parse takes options before, between and after the paths, as far as a lone "--".
func parse(flags *flag.FlagSet, args []string) (paths []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return paths, nil
		}
		if consumed := len(args) - len(rest); consumed > 0 && args[consumed-1] == "--" {
			return append(paths, rest...), nil
		}
		paths = append(paths, rest[0])
		args = rest[1:]
	}
}

func (r *request) verify() (*pef.Verdict, error) {
	options := pef.Options{Root: r.Root}
	if r.Root != "" && !looksLikeKey(r.Root) {
		key, err := read(r.Root, optionBytesMax)
		if err != nil {
			return nil, fmt.Errorf("--root is neither a verifier key nor a file with one: %w", err)
		}
		options.Root = strings.TrimSpace(string(key))
	}
	if r.Checkpoint != "" {
		note, err := read(r.Checkpoint, optionBytesMax)
		if err != nil {
			return nil, fmt.Errorf("--checkpoint: %w", err)
		}
		options.Checkpoint = note
	}
	if r.WitnessPolicy != "" {
		policy, err := read(r.WitnessPolicy, optionBytesMax)
		if err != nil {
			return nil, fmt.Errorf("--witness-policy: %w", err)
		}
		if options.Witnesses, err = pef.ParseWitnessPolicy(policy); err != nil {
			return nil, fmt.Errorf("--witness-policy %s: %w", r.WitnessPolicy, err)
		}
	}
	if r.Event != "" {
		event, err := read(r.Event, eventBytesMax)
		if err != nil {
			return nil, fmt.Errorf("--event: %w", err)
		}
		options.Event = event
	}
	return pef.Verify(r.Inputs, options)
}

func looksLikeKey(s string) bool { return strings.Count(s, "+") >= 2 && !strings.HasPrefix(s, "/") }

func read(path string, max int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, max)
	}
	return append([]byte{}, data...), nil
}

// batch answers a line of standard input with a line of standard output.
func batch(in io.Reader, out, words io.Writer) int {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), batchLineMax)
	answers := bufio.NewWriter(out)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		answers.Write(answer(lines.Bytes()))
		answers.WriteByte('\n')
		if err := answers.Flush(); err != nil {
			fmt.Fprintf(words, "pef-verify: %v\n", err)
			return exitUsage
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintf(words, "pef-verify: %v\n", err)
		return exitUsage
	}
	return exitGood
}

func answer(line []byte) []byte {
	var r request
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return pef.ErrorJSON(err)
	}
	verdict, err := r.verify()
	if err != nil {
		return pef.ErrorJSON(err)
	}
	return verdict.JSON()
}

func writeText(out io.Writer, v *pef.Verdict) error {
	b := &bytes.Buffer{}
	errorsFound, warnings := 0, 0
	for i := range v.Findings {
		f := &v.Findings[i]
		at := ""
		if f.HasSeq {
			at = fmt.Sprintf(" receipt %d", f.Seq)
		}
		if f.Severity == pef.Error {
			errorsFound++
		} else {
			warnings++
		}
		fmt.Fprintf(b, "%s %s %s %s%s\n", f.Severity, f.Code, f.Name(), plain(f.Path), at)
	}
	if v.FindingsDropped > 0 {
		fmt.Fprintf(b, "… and %d more\n", v.FindingsDropped)
	}
	st := &v.Stats
	logs := "unknown"
	if len(st.Logs) > 0 {
		logs = plain(strings.Join(st.Logs, ", "))
	}
	fmt.Fprintf(b, "log        %s\n", logs)
	fmt.Fprintf(b, "looked at  %d bundles, %d segments, %d checkpoints, %d receipts\n",
		st.Bundles, st.Segments, st.Checkpoints, st.Receipts)
	if st.Receipts > 0 {
		fmt.Fprintf(b, "receipts   %d to %d: %s\n", st.FirstSeq, st.LastSeq, counts(st.Kinds))
		fmt.Fprintf(b, "verdicts   %s\n", counts(st.Verdicts))
	}
	checked := "integrity, not origin (no root key was named)"
	if v.Origin {
		checked = "origin and integrity, against the root key that was named"
	}
	verdict := "BAD"
	if v.OK {
		verdict = "GOOD"
	}
	fmt.Fprintf(b, "checked    %s\n%s: %d errors, %d warnings\n", checked, verdict, errorsFound, warnings)
	_, err := out.Write(b.Bytes())
	return err
}

func counts(of map[string]uint64) string {
	parts := make([]string, 0, len(of))
	for name, n := range of {
		parts = append(parts, fmt.Sprintf("%s %d", name, n))
	}
	if len(parts) == 0 {
		return "none"
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// plain keeps control characters out of the terminal: names of files and members are somebody else's.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
