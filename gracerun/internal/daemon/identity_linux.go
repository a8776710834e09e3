package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Lookup returns whom a process is to run as, nil if that is who we are: the user and
// the group by name or number, "" for what stays as it is. Names are those of this
// system, not of one inside a chroot. An error names the fields User and Group behind
// the prefix.
func Lookup(prefix, userName, groupName string) (*Identity, error) {
	if userName == "" && groupName == "" {
		return nil, nil
	}
	id := &Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	err := errors.Join(id.setUser(prefix, userName, groupName), id.setGroup(prefix, groupName))
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		return id, nil
	}
	if id.UID == uint32(os.Geteuid()) && id.GID == uint32(os.Getegid()) {
		return nil, nil
	}
	field, value := prefix+"User", userName
	if value == "" {
		field, value = prefix+"Group", groupName
	}
	return nil, &fault{fmt.Sprintf("%s %q", field, value), unix.EPERM, "only root can change it: start it as root"}
}

// setUser looks name up: a number needs no entry, but then its group must be told.
func (id *Identity) setUser(prefix, name, group string) error {
	if name == "" {
		return nil
	}
	what := fmt.Sprintf("%sUser %q", prefix, name)
	u, err := user.Lookup(name)
	n, nerr := number(name)
	if err != nil && nerr == nil {
		u, err = user.LookupId(strconv.FormatUint(uint64(n), 10)) // of another spelling it takes the lower 32 bits
	}
	if err != nil {
		switch {
		case nerr != nil:
			return &fault{what, errors.New("there is no such user"), "create it, or name another"}
		case group == "":
			return &fault{what, errors.New("the number has no entry, so that its group is not known"), "set " + prefix + "Group, too"}
		}
		id.UID, id.name, id.home = n, name, "/"
		return nil
	}
	list, err := u.GroupIds()
	uid, uerr := number(u.Uid)
	gid, gerr := number(u.Gid)
	if err := errors.Join(err, uerr, gerr); err != nil {
		return &fault{what, err, "repair its entry, or name another"}
	}
	id.UID, id.GID, id.name, id.home = uid, gid, u.Username, cmp.Or(u.HomeDir, "/")
	for _, s := range list {
		n, err := number(s)
		if err != nil {
			return &fault{what, err, "repair its entry, or name another"}
		}
		id.Groups = append(id.Groups, n)
	}
	return nil
}

// setGroup puts another group in the place of the user's own.
func (id *Identity) setGroup(prefix, name string) error {
	if name == "" {
		return nil
	}
	var n uint32
	g, err := user.LookupGroup(name)
	if err == nil {
		n, err = number(g.Gid)
	} else {
		n, err = number(name)
	}
	if err != nil {
		return &fault{fmt.Sprintf("%sGroup %q", prefix, name), errors.New("there is no such group"), "create it, or name another"}
	}
	id.Groups = slices.DeleteFunc(id.Groups, func(g uint32) bool { return g == id.GID })
	id.GID = n
	return nil
}

// Environ returns the variables that tell a process who its user is. They are those
// of nobody for a nil Identity, and for a group alone.
func (id *Identity) Environ() []string {
	if id == nil || id.name == "" {
		return nil
	}
	return []string{"HOME=" + id.home, "USER=" + id.name, "LOGNAME=" + id.name}
}

// number reads a user or group number. The highest means "unchanged" to chown(2).
func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// mayWrite reports whether the mode lets id make files in a directory.
func (id *Identity) mayWrite(st unix.Stat_t) bool {
	const access = 0o3 // write and search
	switch {
	case id.UID == 0:
		return true
	case id.UID == st.Uid:
		return st.Mode>>6&access == access
	case id.GID == st.Gid || slices.Contains(id.Groups, st.Gid):
		return st.Mode>>3&access == access
	}
	return st.Mode&access == access
}
