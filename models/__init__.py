"""The tables."""

from models.approval import Approval
from models.base import Base
from models.credential import (
    ProjectGitAuth,
    ProjectGitAuthApp,
    ProjectGitAuthDeployKey,
    ProjectGitAuthOauth,
    ProjectGitAuthToken,
)
from models.delivery import Delivery
from models.deployment import Deployment
from models.environment import Environment
from models.event import Checkpoint, UnifiedEvent
from models.head import Head
from models.hook import Hook
from models.initialization import ProjectInitializationStep
from models.lease import Lease
from models.lock import Hold, Lock
from models.notification import Notification
from models.organization import Organization
from models.pin import Pin
from models.project import Project
from models.repository import Repository
from models.resource import GitopsResource
from models.run import Run
from models.sync import GitSyncLog
from models.user import GitPlatformConnection, Membership, User

__all__ = [
    "Approval",
    "Base",
    "Checkpoint",
    "Delivery",
    "Deployment",
    "Environment",
    "GitPlatformConnection",
    "GitSyncLog",
    "GitopsResource",
    "Head",
    "Hold",
    "Hook",
    "Lease",
    "Lock",
    "Membership",
    "Notification",
    "Organization",
    "Pin",
    "Project",
    "ProjectGitAuth",
    "ProjectGitAuthApp",
    "ProjectGitAuthDeployKey",
    "ProjectGitAuthOauth",
    "ProjectGitAuthToken",
    "ProjectInitializationStep",
    "Repository",
    "Run",
    "UnifiedEvent",
    "User",
]
