// Package systemd is how a service talks to systemd, or to any other service
// manager that speaks its protocols: sd_notify(3), sd_listen_fds(3), the fd store,
// the watchdog. It knows nothing of an App.
//
// # Who speaks
//
// A manager follows one process of a unit, the main one, and with
// NotifyAccess=main, which is what [Unit] asks for, it believes no other. That is
// no restriction but the rule by which generations take turns: only the owner of
// the service speaks. It begins with [Manager.Notifier] or, in a successor, with
// [Notifier.Own], and ends with [Notifier.HandOver], which makes the successor the
// main process before this one lets go. NotifyAccess=all would let a generation that
// never committed, and every command of the service, say that the service is ready,
// or that it stops.
//
// So the steps of an upgrade are:
//
//	main process                             successor
//	------------                             ---------
//	Reloading
//	                                         serves, commits
//	                                         Adopted
//	HandOver(its pid): MAINPID= and READY=1
//	in one message
//	"it is yours" (the caller's own words)
//	                                         Own, Status, Watchdog ...
//	Barrier, before it exits
//
// The successor speaks before the manager has read that it may: the messages are read in
// their order, and a manager that is busy would miss a sign of life otherwise.
//
// The successor must by then be a child of the manager, see [Adopted], as it is when the
// process that started it has exited: the predecessor cannot be that process.
//
// Or, when the upgrade fails, Ready with the reason: a manager that was told
// RELOADING=1 waits for READY=1.
//
// # Why not go-systemd
//
// github.com/coreos/go-systemd has the same protocols, and does not fit: its
// SdNotify reads NOTIFY_SOCKET from the environment at each call, where we do not
// keep it (a command would inherit it); it waits without limit for a manager that
// does not read; it sends no descriptors, so that there is neither a barrier nor a
// store. Its Files gives descriptors names of its own when they have none, and takes
// the environment's word that they are open.
package systemd
