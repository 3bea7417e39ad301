"""The tables."""

from models.base import Base
from models.delivery import Delivery
from models.deployment import Deployment
from models.environment import Environment
from models.event import UnifiedEvent
from models.head import Head
from models.hook import Hook
from models.notification import Notification
from models.organization import Organization
from models.pin import Pin
from models.project import Project
from models.repository import Repository
from models.resource import GitopsResource
from models.run import Run

__all__ = [
    "Base",
    "Delivery",
    "Deployment",
    "Environment",
    "GitopsResource",
    "Head",
    "Hook",
    "Notification",
    "Organization",
    "Pin",
    "Project",
    "Repository",
    "Run",
    "UnifiedEvent",
]
