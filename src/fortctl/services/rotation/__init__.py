"""Replace the keys of an account, in steps that survive any crash.

``plan.PLAN`` lists the steps of each mode (drain, overlap, urgent) and scope (site, robot, both). The ideas:

- **Journaled before and after.** A step is written as ``doing`` before anything of it is done, and as ``done`` with the
  facts that it ends with (:class:`~fortctl.services.rotation.facts.RotationFacts`). A resumed step that stands at
  ``doing`` first checks how far it came. So any process can resume a rotation, and none repeats what was done.
- **One at a time.** ``journal.RotationJournal`` holds the account's lock: a lease that its owner renews. A dead owner's
  lock is taken over; a panic takes it from anybody, and the owner's next write raises ``ConflictError``.
- **The old key stays until its deletion is proved.** It moves to a ``retiring`` record, which is used for that proof
  alone (``deletion_proof``). What fortctl cannot do is an action for a person (``operator_actions``), exit code 12.

``service.RotationService`` drives the steps. ``steps`` has those about the robot, ``key_steps`` those about keys,
``preflight`` what is checked before anything changes, ``issue_key`` how the issuer makes a key. ``context`` is what
they share. ``abort`` plans (pure), carries out and describes an abort. ``hooks`` runs ``pre-rotate`` and
``post-rotate``.
docs/rotation.md holds the table and the drawing that are generated from ``plan``.
"""
