"""Questions that operators ask the database, in SQL that both databases understand."""

QUESTIONS = {
    "What runs where?": """\
SELECT projects.slug, environments.name, deployments.commit_hash, deployments.finished_at
FROM deployments
JOIN environments ON environments.id = deployments.environment_id AND environments.deleted_at IS NULL
JOIN projects ON projects.id = environments.project_id AND projects.deleted_at IS NULL
WHERE deployments.number = (
    SELECT max(newest.number) FROM deployments AS newest
    WHERE newest.environment_id = environments.id AND newest.status = 'succeeded'
)
ORDER BY projects.slug, environments.position;""",
    "What was deployed to an environment, and what came of it?": """\
SELECT deployments.number, deployments.commit_hash, deployments.trigger, deployments.requested_by,
       deployments.status, deployments.reason, deployments.created_at, deployments.finished_at
FROM deployments
JOIN environments ON environments.id = deployments.environment_id
WHERE environments.name = 'production' AND environments.deleted_at IS NULL
ORDER BY deployments.number DESC
LIMIT 20;""",
    "Which environments are pinned, to what, and by whom?": """\
SELECT environments.name, pins.commit_hash, pins.pull_request, pins.pinned_by, pins.created_at
FROM pins
JOIN environments ON environments.id = pins.environment_id
WHERE pins.ended_at IS NULL
ORDER BY pins.created_at;""",
    "How far is the enabling of each project, and what took how long?": """\
SELECT projects.slug, steps.display_name, steps.status, steps.progress, steps.duration_ms, steps.error
FROM project_initialization_steps AS steps
JOIN projects ON projects.id = steps.project_id AND projects.deleted_at IS NULL
ORDER BY projects.slug, steps.sequence;""",
    "Which Flux objects does each project have? (With the defaults: one shared source, three kustomizations.)": """\
SELECT projects.slug, resources.type, environments.name AS environment, resources.namespace, resources.name,
       resources.status
FROM gitops_resources AS resources
JOIN projects ON projects.id = resources.project_id
LEFT JOIN environments ON environments.id = resources.environment_id
WHERE resources.deleted_at IS NULL
ORDER BY projects.slug, resources.type, environments.position;""",
    "What is not ready, in Flux's words?": """\
SELECT cluster, namespace, type, name, status, status_reason, status_message, last_status_update_at
FROM gitops_resources
WHERE status <> 'ready' AND deleted_at IS NULL
ORDER BY last_status_update_at;""",
    "Which credentials end soon, or do not work?": """\
SELECT projects.slug, auth.auth_type, auth.validation_status, auth.validation_message, auth.expires_at
FROM project_git_auth AS auth
JOIN projects ON projects.id = auth.project_id AND projects.deleted_at IS NULL
WHERE auth.validation_status IN ('invalid', 'expiring')
ORDER BY auth.expires_at;""",
    "What waits to be worked on?": """\
SELECT 'open' AS queue, count(*) AS waiting, min(due_at) AS due FROM deliveries WHERE status = 'recorded'
UNION ALL
SELECT 'execute', count(*), min(due_at) FROM runs WHERE status = 'queued'
UNION ALL
SELECT 'advance', count(*), min(due_at) FROM deployments
WHERE status IN ('queued', 'waiting', 'applying', 'reconciling')
UNION ALL
SELECT 'report', count(*), min(due_at) FROM notifications WHERE status = 'queued';""",
    "Which commands were refused, and why?": """\
SELECT repositories.full_name, runs.pull_request, runs.actor, runs.name, runs.code, runs.text, runs.finished_at
FROM runs
JOIN repositories ON repositories.id = runs.repository_id
WHERE runs.status = 'refused'
ORDER BY runs.finished_at DESC
LIMIT 20;""",
    "What did the bot commit?": """\
SELECT repositories.full_name, logs.branch, logs.commit_hash, logs.status, logs.conflict, logs.error, logs.created_at
FROM git_sync_logs AS logs
JOIN repositories ON repositories.id = logs.repository_id
ORDER BY logs.created_at DESC
LIMIT 20;""",
    "What happened lately?": """\
SELECT created_at, event_type, severity, action, actor, resource_type, resource_id, details
FROM unified_events
ORDER BY created_at DESC
LIMIT 50;""",
}
