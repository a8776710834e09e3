package verbs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// completion prints a script for a shell: bash <(...), or see the first line of each.
func completion(c *call, _ context.Context, args []string) error {
	if len(args) == 0 {
		return c.usage("completion: for which shell? bash, zsh or fish")
	}
	program := filepath.Base(os.Args[0])
	switch args[0] {
	case "bash":
		c.print(c.bash(program))
	case "zsh":
		c.print(c.zsh(program))
	case "fish":
		c.print(c.fish(program))
	}
	return nil
}

// words are what may follow a verb.
func (c *call) words(v verb) []string {
	var words []string
	for _, name := range v.flags {
		if name == "wait" {
			name = "wait=false"
		}
		words = append(words, "--"+name)
	}
	if v.name == "help" {
		return append(words, c.names()...)
	}
	return append(words, v.args...)
}

// ofNames are the verbs whose arguments the service knows: it is asked while they are typed.
// What comes before the verb goes before that question, too: it says which service.
func ofNames() []string {
	var names []string
	for _, v := range builtin() {
		if v.names {
			names = append(names, v.name)
		}
	}
	return names
}

// identifier makes a shell function's name of a program's.
func identifier(program string) string {
	return "_" + strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, program)
}

// quote makes one word of text, for bash and zsh.
func quote(text string) string {
	plain := func(r rune) bool { return r == '-' || r == '=' || r == '.' || identifier(string(r)) == "_"+string(r) }
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// list joins words, those of users among them, each quoted.
func list(words []string, quote func(string) string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

func (c *call) bash(program string) string {
	f := identifier(program)
	var b strings.Builder
	fmt.Fprintf(&b, "# to use it: source <(%s completion bash)\n%s() {\n", program, f)
	b.WriteString("  local words= i ask= name\n  for ((i = 1; i < COMP_CWORD; i++)); do\n    case ${COMP_WORDS[i]} in\n")
	for _, v := range builtin() {
		ask := ""
		if v.names {
			ask = " ask=1;"
		}
		fmt.Fprintf(&b, "    %s) words=%s;%s break ;;\n", v.name, quote(list(c.words(v), quote)), ask)
	}
	for _, v := range c.Verbs {
		fmt.Fprintf(&b, "    %s) return ;;\n", quote(v.Name))
	}
	fmt.Fprintf(&b, "    esac\n  done\n  [[ $words ]] || words=%s\n", quote(list(c.names(), quote)))
	b.WriteString("  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\")\n")
	// Names are the service's: compgen would evaluate them.
	b.WriteString("  [[ $ask ]] || return 0\n  while IFS= read -r name; do\n    printf -v name %q \"$name\"\n" +
		"    [[ $name != \"${COMP_WORDS[COMP_CWORD]}\"* ]] || COMPREPLY+=(\"$name\")\n" +
		"  done < <(\"${COMP_WORDS[@]:0:i}\" tasks --names 2>/dev/null)\n}\n")
	fmt.Fprintf(&b, "complete -o default -F %s %s\n", f, quote(program))
	return b.String()
}

func (c *call) zsh(program string) string {
	f := identifier(program)
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n# to use it: source <(%s completion zsh)\n%s() {\n", program, program, f)
	b.WriteString("  local word\n  local -i i=1\n  for word in \"${(@)words[2,CURRENT-1]}\"; do\n    case $word in\n")
	for _, v := range builtin() {
		names := ""
		if v.names {
			names = " ${(f)\"$(\"${(@Q)words[1,i]}\" tasks --names 2>/dev/null)\"}"
		}
		fmt.Fprintf(&b, "    %s) compadd -- %s%s; return ;;\n", v.name, list(c.words(v), quote), names)
	}
	for _, v := range c.Verbs {
		fmt.Fprintf(&b, "    %s) _files; return ;;\n", quote(v.Name))
	}
	b.WriteString("    esac\n    i+=1\n  done\n  local -a verbs=(\n")
	c.eachVerb(func(name, help string) {
		fmt.Fprintf(&b, "    %s\n", quote(strings.ReplaceAll(name, ":", `\:`)+":"+help))
	})
	fmt.Fprintf(&b, "  )\n  _describe verb verbs\n}\ncompdef %s %s\n", f, quote(program))
	return b.String()
}

// fishQuote is quote for fish, which knows escapes in quotes. What it completes it
// evaluates once more.
func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

func (c *call) fish(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# to use it: %s completion fish | source\n", program)
	add := func(condition, word, help string) {
		fmt.Fprintf(&b, "complete -c %s -f -n %s -a %s -d %s\n", fishQuote(program), fishQuote(condition), fishQuote(fishQuote(word)), fishQuote(help))
	}
	f := "_" + identifier(program) + "_names"
	ofNames := strings.Join(ofNames(), " ")
	fmt.Fprintf(&b, "function %s\n  set -l words\n  for word in (commandline -opc)\n    contains -- $word %s; and break\n"+
		"    set -a words $word\n  end\n  $words tasks --names 2>/dev/null\nend\n", f, ofNames)
	fmt.Fprintf(&b, "complete -c %s -f -n %s -a '(%s)'\n", fishQuote(program), fishQuote("__fish_seen_subcommand_from "+ofNames), f)
	none := "not __fish_seen_subcommand_from " + list(c.names(), fishQuote)
	c.eachVerb(func(name, help string) { add(none, name, help) })
	for _, v := range builtin() {
		for _, word := range c.words(v) {
			add("__fish_seen_subcommand_from "+v.name, word, "")
		}
	}
	return b.String()
}
