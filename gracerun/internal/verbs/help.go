package verbs

import (
	"context"
	"flag"
	"fmt"
	"strings"
)

func help(c *call, _ context.Context, args []string) error {
	if len(args) == 0 {
		c.print(c.usageText())
		return nil
	}
	for _, v := range c.Verbs {
		if v.Name == args[0] {
			c.print(fmt.Sprintf("usage: %s%s %s ...\n%s\n", c.Name, before(ownFlags()), v.Name, v.Help))
			return nil
		}
	}
	v, ok := find(args[0])
	if !ok {
		return c.unknownVerb(args[0])
	}
	c.print(c.verbHelp(v))
	return nil
}

func (c *call) usageText() string {
	var b strings.Builder
	own := ownFlags()
	fmt.Fprintf(&b, "usage: %s%s [verb] [flags of the verb]\n", c.Name, before(own))
	c.eachVerb(func(name, help string) { fmt.Fprintf(&b, "  %-13s %s\n", name, help) })
	fmt.Fprintf(&b, "for the flags of a verb: %s help VERB\n", c.Name)
	if own != "" {
		b.WriteString("flags, before the verb:\n" + own)
	}
	return b.String()
}

func before(own string) string {
	if own == "" {
		return ""
	}
	return " [flags]"
}

// ownFlags are those of the program, if it has parsed any with package flag.
func ownFlags() string {
	if !flag.Parsed() {
		return ""
	}
	var b strings.Builder
	fs := flag.NewFlagSet("", flag.ContinueOnError) // a copy, which prints elsewhere
	fs.SetOutput(&b)
	flag.VisitAll(func(f *flag.Flag) {
		fs.Var(f.Value, f.Name, f.Usage)
		fs.Lookup(f.Name).DefValue = f.DefValue
	})
	fs.PrintDefaults()
	return b.String()
}

func (c *call) verbHelp(v verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s%s %s [flags of %s]", c.Name, before(ownFlags()), v.name, v.name)
	switch {
	case v.names:
		b.WriteString(" NAME ...")
	case len(v.args) > 0:
		b.WriteString(" " + strings.Join(v.args, "|"))
	case v.args != nil:
		b.WriteString(" [verb]")
	}
	fmt.Fprintf(&b, "\n%s\n", c.helpOf(v))
	fs := new(options).flagSet(v)
	for _, name := range v.flags {
		f := fs.Lookup(name)
		value, text := flag.UnquoteUsage(f)
		name := "--" + f.Name
		switch {
		case f.DefValue == "true":
			name, text = name+"=false", "do not "+text
		case value != "":
			name += " " + strings.ToUpper(value)
		}
		fmt.Fprintf(&b, "  %-19s %s\n", name, text)
	}
	return b.String()
}
