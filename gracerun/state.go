package gracerun

import "fmt"

// State is where a generation is in its life.
type State int

const (
	// StateStarting: Setup, sockets, Check; a successor stays here through its
	// probation, while it serves already.
	StateStarting State = iota
	// StateReady: this generation owns the service.
	StateReady
	// StateUpgrading: it serves, and a successor is on its way.
	StateUpgrading
	// StateDraining: it takes no new work and finishes what it has; before that,
	// when the service stops, App.StopDelay passes.
	StateDraining
	// StateDone: Run is about to return.
	StateDone
)

const stateCount = StateDone + 1

var stateNames = [stateCount]string{"starting", "ready", "upgrading", "draining", "done"}

func (s State) String() string {
	if s < 0 || s >= stateCount {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return stateNames[s]
}

// MarshalText returns the name of the state in lower case.
func (s State) MarshalText() ([]byte, error) {
	if s < 0 || s >= stateCount {
		return nil, fmt.Errorf("gracerun: no such state: %d", int(s))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("gracerun: no such state: %q", text)
}

// An event is something that happened. What came with it (who asked, why it
// failed) travels beside it: it does not decide what is done.
type event int

const (
	evServing   event = iota // the accept loops run and Check passed
	evGo                     // nobody is before this generation any more: commit
	evUpgrade                // an upgrade is asked for
	evReload                 // the configuration is to be reread
	evRefused                // the upgrade under way failed; its child is gone
	evCommitted              // the successor has committed
	evStop                   // the service is to stop: TERM, INT, the end of Run's context
	evFault                  // a part of the service failed
	evDeadline               // the drain's deadline has passed
	evDrained                // everything in hand is finished, or was cut
	evQuit                   // INT again: the person at the terminal does not want to wait
	eventCount
)

// An action is what the owner of the state does about an event.
type action int

const (
	doNothing  action = iota
	doAnnounce        // tell the predecessor that this generation serves
	doOwn             // commit, write the pid file, begin tasks
	doDefer           // keep the request for an upgrade until ready
	doUpgrade         // start an upgrade
	doReload          // reread the configuration
	doWait            // the request waits until the upgrade under way has ended
	doQueue           // join the upgrade under way, or ask for one more after it
	doForward         // the request is the successor's
	doResume          // report the refusal; the next request in the queue, if any
	doDrain           // stop taking, finish, exit
	doAbort           // the same, and the successor on its way is to leave, too
	doIgnore          // say that a stop changes nothing
	doNote            // remember the fault, it is Run's error
	doCut             // the deadline: end what is still in hand
	doExit            // Run returns
	doQuit            // Run returns at once
)

// next is the whole life of a generation. It has an entry for each state and
// event, and no side effect: what is to be done is the caller's job.
func next(s State, e event) (State, action) {
	t := table[s][e]
	return t.state, t.action
}

type transition struct {
	state  State
	action action
}

var table = [stateCount][eventCount]transition{
	StateStarting: {
		evServing:   {StateStarting, doAnnounce},
		evGo:        {StateReady, doOwn},
		evUpgrade:   {StateStarting, doDefer},
		evReload:    {StateStarting, doDefer},
		evRefused:   {StateStarting, doNothing},
		evCommitted: {StateStarting, doNothing},
		evStop:      {StateDraining, doDrain},
		evFault:     {StateDraining, doDrain},
		evDeadline:  {StateStarting, doNothing},
		evDrained:   {StateStarting, doNothing},
		evQuit:      {StateDone, doQuit},
	},
	StateReady: {
		evServing:   {StateReady, doNothing},
		evGo:        {StateReady, doNothing},
		evUpgrade:   {StateUpgrading, doUpgrade},
		evReload:    {StateReady, doReload},
		evRefused:   {StateReady, doNothing},
		evCommitted: {StateReady, doNothing},
		evStop:      {StateDraining, doDrain},
		evFault:     {StateDraining, doDrain},
		evDeadline:  {StateReady, doNothing},
		evDrained:   {StateReady, doNothing},
		evQuit:      {StateDone, doQuit},
	},
	StateUpgrading: {
		evServing:   {StateUpgrading, doNothing},
		evGo:        {StateUpgrading, doNothing},
		evUpgrade:   {StateUpgrading, doQueue},
		evReload:    {StateUpgrading, doWait},
		evRefused:   {StateReady, doResume},
		evCommitted: {StateDraining, doDrain},
		evStop:      {StateDraining, doAbort},
		// The successor goes on: it was about to take over from a process
		// that had no fault, and is all that is left of the service.
		evFault:    {StateDraining, doDrain},
		evDeadline: {StateUpgrading, doNothing},
		evDrained:  {StateUpgrading, doNothing},
		evQuit:     {StateDone, doQuit},
	},
	StateDraining: {
		evServing:   {StateDraining, doNothing},
		evGo:        {StateDraining, doNothing},
		evUpgrade:   {StateDraining, doForward},
		evReload:    {StateDraining, doForward},
		evRefused:   {StateDraining, doResume},
		evCommitted: {StateDraining, doResume},
		evStop:      {StateDraining, doIgnore}, // a repeated TERM never begins a drain anew
		evFault:     {StateDraining, doNote},
		evDeadline:  {StateDraining, doCut},
		evDrained:   {StateDone, doExit},
		evQuit:      {StateDone, doQuit},
	},
	StateDone: {
		evServing:   {StateDone, doNothing},
		evGo:        {StateDone, doNothing},
		evUpgrade:   {StateDone, doForward},
		evReload:    {StateDone, doForward},
		evRefused:   {StateDone, doNothing},
		evCommitted: {StateDone, doNothing},
		evStop:      {StateDone, doNothing},
		evFault:     {StateDone, doNothing},
		evDeadline:  {StateDone, doNothing},
		evDrained:   {StateDone, doNothing},
		evQuit:      {StateDone, doNothing},
	},
}
