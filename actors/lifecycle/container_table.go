package lifecycle

func onC(k Kind, rule rule[Container], in ...Phase) row[Container] {
	return row[Container]{on: k, in: in, rule: rule}
}

var containerPhases = []Phase{Open, Pausing, Frozen, Resuming, Saving, Closing, Closed, Clearing, Released}

var containerKinds = []Kind{
	cmdCreate, cmdStart, cmdKill, cmdResize, cmdCloseIO, cmdState, cmdWait, cmdDelete,
	cmdPause, cmdResume, cmdUpdate, cmdCheckpoint, cmdPids, cmdStats, cmdConnect,
	cmdExec, toExecStart, toExec,
	onCreateOK, onCreateFailed, onStartOK, onStartFailed, onDeleteOK, onDeleteFailed,
	onPauseOK, onPauseFailed, onResumeOK, onResumeFailed, onCheckpointOK, onCheckpointFailed,
	onCallOK, onCallFailed, onLate,
	onExit, onOOM, onAbandon, onDoom, onCrash, onDrainExpired,
	onStarted, onFailed, onExited, onDeleted, onCrashed, onLost, onUnresponsive,
}

var containerTable *table[Container]

func init() {
	always := containerPhases
	lives := []Phase{Open, Pausing, Frozen, Resuming, Saving}
	over := []Phase{Closing, Closed, Clearing, Released}
	notOpen := []Phase{Pausing, Frozen, Resuming, Saving, Closing, Closed, Clearing, Released}
	notEither := []Phase{Pausing, Frozen, Resuming, Saving, Closed, Clearing, Released} // Open or Closing
	notClosed := []Phase{Open, Pausing, Frozen, Resuming, Saving, Closing, Released}
	// An exit that is known is told at once where no exec lives; and if a Delete
	// waits for it, the execs are released next.
	ended := []Phase{Closing, Closed, Clearing}
	told := []Phase{Closed, Clearing}
	// A Pause or Checkpoint that waited for execs to have started is taken up.
	resumed := []Phase{Pausing, Saving}

	toInit := rule[Container]{"the init's table", nil, (*Container).delegate}

	containerTable = newTable("container", containerPhases, containerKinds, []row[Container]{
		onC(cmdCreate, toInit, always...),
		onC(cmdStart, toInit, always...),
		onC(cmdKill, toInit, always...),
		onC(cmdResize, toInit, always...),
		onC(cmdCloseIO, toInit, always...),
		onC(cmdState, rule[Container]{"the init's table; running is told as paused", nil, (*Container).onState}, Frozen),
		onC(cmdState, toInit, Open, Pausing, Resuming, Saving, Closing, Closed, Clearing, Released),
		onC(cmdWait, toInit, always...),
		onC(cmdDelete, rule[Container]{"the init's table; its call waits until the execs are released", []Phase{Clearing}, (*Container).delegate}, Closed),
		onC(cmdDelete, toInit, Open, Pausing, Frozen, Resuming, Saving, Closing, Clearing, Released),

		onC(cmdPause, rule[Container]{"call the driver, if the init runs; postpone while execs are starting", []Phase{Pausing}, (*Container).onPause}, Open),
		onC(cmdPause, refuseBusy, Pausing, Resuming, Saving),
		onC(cmdPause, refuseC("refuse: is paused", "it is paused already", "resume it"), Frozen),
		onC(cmdPause, refuseOver, over...),
		onC(cmdResume, refuseC("refuse: is not paused", "it is not paused", ""), Open),
		onC(cmdResume, refuseBusy, Pausing, Resuming, Saving),
		onC(cmdResume, rule[Container]{"call the driver", []Phase{Resuming}, (*Container).onResume}, Frozen),
		onC(cmdResume, refuseOver, over...),
		onC(cmdCheckpoint, rule[Container]{"call the driver, if the init runs; postpone while execs are starting", []Phase{Saving}, (*Container).onCheckpoint}, Open, Frozen),
		onC(cmdCheckpoint, refuseBusy, Pausing, Resuming, Saving),
		onC(cmdCheckpoint, refuseOver, over...),
		onC(cmdUpdate, rule[Container]{"call the driver, if the init is there", nil, (*Container).onUpdate}, lives...),
		onC(cmdUpdate, refuseOver, over...),
		onC(cmdStats, rule[Container]{"call the driver, if the init is there", nil, (*Container).onStats}, lives...),
		onC(cmdStats, refuseOver, over...),
		onC(cmdPids, rule[Container]{"reply", nil, (*Container).onPids}, Open, Pausing, Frozen, Resuming, Saving, Closing, Closed, Clearing),
		onC(cmdPids, rule[Container]{"refuse: not found", nil, (*Container).refuseReleased}, Released),
		onC(cmdConnect, rule[Container]{"reply", nil, (*Container).onConnect}, Open, Pausing, Frozen, Resuming, Saving, Closing, Closed, Clearing),
		onC(cmdConnect, rule[Container]{"refuse: not found", nil, (*Container).refuseReleased}, Released),

		onC(cmdExec, rule[Container]{"register it, unless the id is in use or the init is not there", nil, (*Container).onExecAdd}, lives...),
		onC(cmdExec, refuseOver, over...),
		onC(toExecStart, rule[Container]{"the exec's table", nil, (*Container).onExecStart}, Open),
		onC(toExecStart, rule[Container]{"postpone", nil, (*Container).onExecPostpone}, Pausing, Resuming, Saving),
		onC(toExecStart, rule[Container]{"refuse: is paused", nil, (*Container).onExecStartFrozen}, Frozen),
		onC(toExecStart, rule[Container]{"refuse: has stopped", nil, (*Container).onExecStartOver}, over...),
		onC(toExec, rule[Container]{"the exec's table", nil, (*Container).onExecCommand}, always...),

		onC(onCreateOK, rule[Container]{"the init's table", []Phase{Closed, Released}, (*Container).delegate}, Open),
		onC(onCreateFailed, rule[Container]{"the init's table", []Phase{Released}, (*Container).delegate}, Open),
		onC(onStartOK, rule[Container]{"the init's table", ended, (*Container).delegate}, Open),
		onC(onStartFailed, rule[Container]{"the init's table", ended, (*Container).delegate}, Open),
		onC(onCreateOK, impossibleC, notOpen...),
		onC(onCreateFailed, impossibleC, notOpen...),
		onC(onStartOK, impossibleC, notOpen...),
		onC(onStartFailed, impossibleC, notOpen...),
		onC(onDeleteOK, rule[Container]{"the init's table", []Phase{Released}, (*Container).delegate}, Closed, Clearing),
		onC(onDeleteFailed, rule[Container]{"the init's table, so that it can be tried again; ending: try again", []Phase{Closed}, (*Container).onDeleteFailed}, Clearing),
		onC(onDeleteFailed, rule[Container]{"the init's table, so that it can be tried again; ending: try again, and discard it in the end", []Phase{Released}, (*Container).onDeleteFailed}, Closed),
		onC(onDeleteOK, impossibleC, notClosed...),
		onC(onDeleteFailed, impossibleC, notClosed...),
		onC(onLate, rule[Container]{"the init's table; a pause that succeeded after all is told", []Phase{Frozen}, (*Container).onLate}, Open),
		onC(onLate, rule[Container]{"the init's table; a resume that succeeded after all is told", []Phase{Open}, (*Container).onLate}, Frozen),
		onC(onLate, rule[Container]{"the init's table; a pause or resume that succeeded after all is told", nil, (*Container).onLate}, Saving),
		onC(onLate, toInit, Pausing, Resuming, Closing, Closed, Clearing, Released),
		onC(onCallOK, rule[Container]{"reply", nil, (*Container).onCallOK}, always...),
		onC(onCallFailed, rule[Container]{"the init's table", nil, (*Container).delegate}, always...),

		onC(onPauseOK, rule[Container]{"tell that it is paused", []Phase{Frozen}, (*Container).onPauseOK}, Pausing),
		onC(onPauseFailed, rule[Container]{"tell why", []Phase{Open}, (*Container).onPauseFailed}, Pausing),
		onC(onResumeOK, rule[Container]{"tell that it goes on, replay", []Phase{Open}, (*Container).onResumeOK}, Resuming),
		onC(onResumeFailed, rule[Container]{"tell why, it stays paused", []Phase{Frozen}, (*Container).onResumeFailed}, Resuming),
		onC(onCheckpointOK, rule[Container]{"tell that the image is complete", []Phase{Open, Frozen}, (*Container).onCheckpointOK}, Saving),
		onC(onCheckpointFailed, rule[Container]{"tell why", []Phase{Open, Frozen}, (*Container).onCheckpointFailed}, Saving),
		onC(onPauseOK, answerOver, over...),
		onC(onPauseFailed, answerOver, over...),
		onC(onResumeOK, answerOver, over...),
		onC(onResumeFailed, answerOver, over...),
		onC(onCheckpointOK, rule[Container]{"tell that the image is complete", nil, (*Container).onCheckpointOver}, over...),
		onC(onCheckpointFailed, answerOver, over...),
		onC(onPauseOK, impossibleC, Open, Frozen, Resuming, Saving),
		onC(onPauseFailed, impossibleC, Open, Frozen, Resuming, Saving),
		onC(onResumeOK, impossibleC, Open, Pausing, Frozen, Saving),
		onC(onResumeFailed, impossibleC, Open, Pausing, Frozen, Saving),
		onC(onCheckpointOK, impossibleC, Open, Pausing, Frozen, Resuming),
		onC(onCheckpointFailed, impossibleC, Open, Pausing, Frozen, Resuming),

		onC(onExit, rule[Container]{"the init's table: end the execs, then tell it", ended, (*Container).delegate}, lives...),
		onC(onExit, toInit, over...),
		onC(onOOM, rule[Container]{"publish", nil, (*Container).onOOM}, Open, Pausing, Frozen, Resuming, Saving, Closing),
		onC(onOOM, nothingC, Closed, Clearing, Released),
		onC(onAbandon, rule[Container]{"forget the asker", nil, (*Container).onAbandon}, always...),
		onC(onDoom, rule[Container]{"kill the init; delete the container when it has stopped", nil, (*Container).onDoom}, Open, Pausing, Frozen, Resuming, Saving, Closing, Clearing, Released),
		onC(onDoom, rule[Container]{"delete the container", []Phase{Clearing}, (*Container).onDoom}, Closed),
		onC(onCrash, rule[Container]{"answer every asker with the error, have the sandbox kill it; not created yet: release", []Phase{Released}, (*Container).onCrash}, Open),
		onC(onCrash, rule[Container]{"answer every asker with the error, have the sandbox kill it", nil, (*Container).onCrash}, Pausing, Frozen, Resuming, Saving, Closed, Clearing, Released),
		onC(onCrash, rule[Container]{"answer every asker with the error; the init's exit may be due", told, (*Container).onCrash}, Closing),
		onC(onDrainExpired, rule[Container]{"have each exec that lives tell an unknown exit", nil, (*Container).onDrainExpired}, Closing),
		onC(onDrainExpired, nothingC, Open, Pausing, Frozen, Resuming, Saving, Closed, Clearing, Released),

		onC(onStarted, rule[Container]{"note its pids; replay if none is starting", resumed, (*Container).onStarted}, Open),
		onC(onStarted, rule[Container]{"note its pids", nil, (*Container).onStarted}, notOpen...),
		onC(onFailed, rule[Container]{"note it; replay if none is starting", resumed, (*Container).onFailed}, Open),
		onC(onFailed, rule[Container]{"note it; the init's exit may be due", told, (*Container).onFailed}, Closing),
		onC(onFailed, rule[Container]{"note it", nil, (*Container).onFailed}, notEither...),
		onC(onExited, rule[Container]{"note it; the init's exit may be due", told, (*Container).onExited}, Closing),
		onC(onExited, rule[Container]{"note it", nil, (*Container).onExited}, Open, Pausing, Frozen, Resuming, Saving, Closed, Clearing, Released),
		onC(onDeleted, rule[Container]{"free the id, then reply; replay if none is starting", resumed, (*Container).onDeleted}, Open),
		onC(onDeleted, rule[Container]{"free the id, then reply; the init's exit may be due", told, (*Container).onDeleted}, Closing),
		onC(onDeleted, rule[Container]{"free the id, then reply", nil, (*Container).onDeleted}, Pausing, Frozen, Resuming, Saving, Closed, Released),
		onC(onDeleted, rule[Container]{"free the id, then reply; the last one: call the driver", nil, (*Container).onDeleted}, Clearing),
		onC(onCrashed, rule[Container]{"kill it", nil, (*Container).onCrashed}, always...),
		onC(onLost, rule[Container]{"discard it, tell an unknown exit in its place; replay if none is starting", resumed, (*Container).onLost}, Open),
		onC(onLost, rule[Container]{"discard it, tell an unknown exit in its place; the init's exit may be due", told, (*Container).onLost}, Closing),
		onC(onLost, rule[Container]{"discard it, tell an unknown exit in its place", nil, (*Container).onLost}, notEither...),
		onC(onUnresponsive, rule[Container]{"pass it on", nil, (*Container).onUnresponsive}, always...),
	})
}
