package command

import "time"

// usageAge is how old the figures of a Status may be: counting looks at every process.
const usageAge = 500 * time.Millisecond

// Status says how the programs are, in the order of registration. Before Run it says
// what the older generation has written down.
func (s *Supervisor) Status() []Status {
	begun := s.Begun()
	list := make([]Status, 0, len(s.children))
	for _, c := range s.children {
		list = append(list, c.status(begun))
	}
	groups := s.usage(list)
	for i := range list {
		u := groups[list[i].PID]
		list[i].CPU, list[i].Memory = u.cpu, u.memory
	}
	return list
}

func (c *child) status(begun bool) Status {
	c.mu.Lock()
	r := c.record
	c.mu.Unlock()
	r.Output = c.sink.last()
	if !begun {
		if old, err := loadRecord(c.path + ".json"); err == nil {
			r = old
			r.State = Older
		}
	}
	return Status{
		Name: c.spec.Name, State: r.State, PID: r.PID, Since: r.Since, Due: r.Due,
		Restarts: r.Restarts, LastExit: r.LastExit, Error: r.Error, Output: append([]string{}, r.Output...),
	}
}

// usage counts what the groups use, if the last count is too old.
func (s *Supervisor) usage(list []Status) map[int]usage {
	groups := map[int]bool{}
	for _, st := range list {
		if st.PID != 0 {
			groups[st.PID] = true
		}
	}
	s.used.Lock()
	defer s.used.Unlock()
	if time.Since(s.used.at) > usageAge {
		s.used.at, s.used.groups = time.Now(), groupUsage(groups)
	}
	return s.used.groups
}
