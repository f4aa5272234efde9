"""One account's robot, as the operator's side knows it.

Two ways lead to a robot, and they are kept apart:

- **Commands** go through the mailbox: sealed to the robot, signed by the operator, numbered, answered by a signed
  receipt. :class:`~fortctl.services.robot.client.RobotClient` sends one (``send``, ``await_receipt``, or ``execute``
  for both) and brings the local robot up first. It trusts the robot that this home pinned, never the mailbox.
- **Status** is read without a command (:class:`~fortctl.services.robot.status.RobotStatusReader`): from the process's
  socket, or from the journal while no robot runs. Reading never starts a process and unlocks nothing.

:class:`~fortctl.services.robot.service.RobotService` puts both together for start, drain, stop, resume and configure:
send, then watch the status until it shows the effect. ``pairing`` makes an operator and a robot on another host trust
each other; ``messages`` explains the codes of a robot that does not trade.
"""
