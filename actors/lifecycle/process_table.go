package lifecycle

type processRow = row[Process]

// on makes a row of the process's table.
func on(k Kind, rule rule[Process], in ...Phase) processRow {
	return processRow{on: k, in: in, rule: rule}
}

var processPhases = []Phase{Creating, Created, Starting, Running, Draining, Stopped, Broken, Deleting, Released}

var processKinds = []Kind{
	cmdCreate, cmdStart, cmdKill, cmdResize, cmdCloseIO, cmdState, cmdWait, cmdDelete,
	onCreateOK, onCreateFailed, onStartOK, onStartFailed, onDeleteOK, onDeleteFailed,
	onCallOK, onCallFailed, onLate,
	onExit, onAbandon, onDoom, onExpire, onDrop, onDrained, onCrash,
}

var processTable *table[Process]

// The table is made in init and not by a var declaration, since its rules
// refer to it.
func init() {
	always := processPhases
	processTable = newTable("process", processPhases, processKinds, []processRow{
		on(cmdCreate, rule[Process]{"call the driver", nil, (*Process).onCreate}, Creating),
		on(cmdCreate, refuseExists, Created, Starting, Running, Draining, Stopped, Broken, Deleting, Released),

		on(cmdStart, refuseIsBeingCreated, Creating),
		on(cmdStart, rule[Process]{"call the driver, unless doomed", []Phase{Starting}, (*Process).onStart}, Created),
		on(cmdStart, refuseStarted, Starting, Running, Draining, Stopped, Deleting),
		on(cmdStart, refuseBroken, Broken),
		on(cmdStart, refuseNotFound, Released),

		on(cmdKill, refuseIsBeingCreated, Creating),
		on(cmdKill, rule[Process]{"init: call the driver; exec: refuse, not started", nil, (*Process).onKillUnstarted}, Created, Broken),
		on(cmdKill, rule[Process]{"init and SIGKILL: call the driver; else postpone", nil, (*Process).onKillStarting}, Starting),
		on(cmdKill, rule[Process]{"call the driver", nil, (*Process).onKill}, Running),
		on(cmdKill, refuseGone, Draining, Stopped, Deleting),
		on(cmdKill, refuseNotFound, Released),

		on(cmdResize, refuseIsBeingCreated, Creating),
		on(cmdResize, rule[Process]{"init: call the driver; exec: remember", nil, (*Process).onResizeEarly}, Created),
		on(cmdResize, rule[Process]{"init: call the driver; exec: postpone", nil, (*Process).onResizeStarting}, Starting),
		on(cmdResize, rule[Process]{"call the driver", nil, (*Process).onResize}, Running, Draining),
		on(cmdResize, rule[Process]{"reply, nothing to do", nil, (*Process).onResizeLate}, Stopped, Broken, Deleting),
		on(cmdResize, refuseNotFound, Released),

		on(cmdCloseIO, refuseIsBeingCreated, Creating),
		on(cmdCloseIO, rule[Process]{"init: call the driver; exec: remember", nil, (*Process).onCloseIOEarly}, Created),
		on(cmdCloseIO, rule[Process]{"init: call the driver; exec: postpone", nil, (*Process).onCloseIOStarting}, Starting),
		on(cmdCloseIO, rule[Process]{"call the driver", nil, (*Process).onCloseIO}, Running, Draining),
		on(cmdCloseIO, rule[Process]{"reply, nothing to do", nil, (*Process).onCloseIOLate}, Stopped, Broken, Deleting),
		on(cmdCloseIO, refuseNotFound, Released),

		on(cmdState, rule[Process]{"reply", nil, (*Process).onState}, Creating, Created, Starting, Running, Draining, Stopped, Broken, Deleting),
		on(cmdState, refuseNotFound, Released),

		on(cmdWait, rule[Process]{"keep the asker", nil, (*Process).onWait}, Creating, Created, Starting, Running, Draining),
		on(cmdWait, rule[Process]{"init: keep the asker; exec: refuse, it will not run", nil, (*Process).onWaitBroken}, Broken),
		on(cmdWait, rule[Process]{"reply", nil, (*Process).onWaitStopped}, Stopped, Deleting),
		on(cmdWait, refuseNotFound, Released),

		on(cmdDelete, refuseIsBeingCreated, Creating),
		on(cmdDelete, rule[Process]{"init: kill it first, postpone; exec: release", []Phase{Released}, (*Process).onDeleteUnstarted}, Created, Broken),
		on(cmdDelete, refuseLives, Starting, Running),
		on(cmdDelete, postponeRule, Draining),
		on(cmdDelete, rule[Process]{"call the driver", []Phase{Deleting}, (*Process).onDelete}, Stopped),
		on(cmdDelete, rule[Process]{"join", nil, (*Process).onDeleteAgain}, Deleting),
		on(cmdDelete, refuseNotFound, Released),

		on(onCreateOK, rule[Process]{"tell that it is created; if doomed, discard it", []Phase{Created, Draining, Released}, (*Process).onCreateOK}, Creating),
		on(onCreateFailed, rule[Process]{"tell why, release", []Phase{Released}, (*Process).onCreateFailed}, Creating),
		on(onCreateOK, impossible, Created, Starting, Running, Draining, Stopped, Broken, Deleting, Released),
		on(onCreateFailed, impossible, Created, Starting, Running, Draining, Stopped, Broken, Deleting, Released),

		on(onStartOK, rule[Process]{"tell that it runs, then a held exit", []Phase{Running, Draining, Stopped}, (*Process).onStartOK}, Starting),
		on(onStartFailed, rule[Process]{"tell why; init: kill what is left", []Phase{Broken, Draining}, (*Process).onStartFailed}, Starting),
		on(onStartOK, impossible, Creating, Created, Running, Draining, Stopped, Broken, Deleting, Released),
		on(onStartFailed, impossible, Creating, Created, Running, Draining, Stopped, Broken, Deleting, Released),

		on(onDeleteOK, rule[Process]{"release, reply", []Phase{Released}, (*Process).onDeleteOK}, Deleting),
		on(onDeleteFailed, rule[Process]{"tell why, so that it can be tried again; dropped: release", []Phase{Stopped, Released}, (*Process).onDeleteFailed}, Deleting),
		on(onDeleteOK, impossible, Creating, Created, Starting, Running, Draining, Stopped, Broken, Released),
		on(onDeleteFailed, impossible, Creating, Created, Starting, Running, Draining, Stopped, Broken, Released),

		on(onCallOK, rule[Process]{"reply", nil, (*Process).onCallOK}, always...),
		on(onCallFailed, rule[Process]{"tell why; a SIGKILL of an init that hangs: kill the sandbox", nil, (*Process).onCallFailed}, always...),
		on(onLate, rule[Process]{"discard a process that came too late, else nothing", nil, (*Process).onLateAnswer}, always...),

		on(onExit, rule[Process]{"hold it until the call returns", nil, (*Process).onExitEarly}, Creating, Starting),
		on(onExit, rule[Process]{"init: drain its execs; exec: nothing, it has no process", []Phase{Draining}, (*Process).onExitUnstarted}, Created, Broken),
		on(onExit, rule[Process]{"init: drain its execs; exec: tell it", []Phase{Draining, Stopped}, (*Process).onExit}, Running),
		on(onExit, nothing, Draining, Stopped, Deleting, Released),

		on(onAbandon, rule[Process]{"forget the asker", nil, (*Process).onAbandon}, always...),

		on(onDoom, rule[Process]{"remember; it is discarded when it comes", nil, (*Process).onDoomEarly}, Creating),
		on(onDoom, rule[Process]{"init: kill it; exec: never start it", nil, (*Process).onDoomCreated}, Created),
		on(onDoom, rule[Process]{"init: kill it; exec: give it up", []Phase{Broken}, (*Process).onDoomStarting}, Starting),
		on(onDoom, rule[Process]{"kill it", nil, (*Process).onDoomRunning}, Running),
		on(onDoom, nothing, Draining, Stopped, Broken, Deleting, Released),

		on(onExpire, rule[Process]{"tell an exit with status unknown", []Phase{Stopped}, (*Process).onExpire}, Running),
		on(onExpire, nothing, Creating, Created, Starting, Draining, Stopped, Broken, Deleting, Released),

		on(onDrop, rule[Process]{"release", []Phase{Released}, (*Process).onDropUnstarted}, Created, Broken),
		on(onDrop, rule[Process]{"call the driver to delete it", []Phase{Deleting}, (*Process).onDrop}, Stopped),
		on(onDrop, rule[Process]{"remember", nil, (*Process).onDropDeleting}, Deleting),
		on(onDrop, impossible, Creating, Starting, Running, Draining),
		on(onDrop, nothing, Released),

		on(onDrained, rule[Process]{"tell the exit", []Phase{Stopped, Deleting}, (*Process).onDrained}, Draining),
		on(onDrained, nothing, Creating, Created, Starting, Running, Stopped, Broken, Deleting, Released),

		on(onCrash, rule[Process]{"answer every asker with the error, have the parent kill it; not asked for yet: release", []Phase{Released}, (*Process).onCrash}, Creating),
		on(onCrash, rule[Process]{"answer every asker with the error, have the parent kill it; exec: give it up", []Phase{Broken}, (*Process).onCrash}, Created, Starting),
		on(onCrash, rule[Process]{"answer every asker with the error, have the parent kill it", nil, (*Process).onCrash}, Running, Draining, Stopped, Broken, Deleting, Released),
	})
}
