"""The robot as a process of an operating system (adapters).

:class:`.daemon.RobotDaemon` runs the robot's tasks, its socket and its signals, with ready objects that
``fortctl.bootstrap.robot`` makes. The other modules are what surrounds such a process:

- **Who owns the account.** :mod:`.owner_lock`: the kernel holds the lock for as long as the robot lives.
- **How others reach it.** :mod:`.control_socket` answers status, wakes the robot and halts it for a panic; it can do
  nothing that costs money. :mod:`.local_robot` is the other end of that socket, and starts and stops the process;
  :mod:`.remote_robot` reads the card of a robot on another host.
- **What it leaves behind.** :mod:`.log_file` and its reader, :mod:`.crash_reports` (without values), metrics for
  Prometheus on a server of their own.
- **The service manager.** :mod:`.sd_notify` reports readiness and answers the watchdog; ``systemd*`` write, check and
  install a unit.
"""
