"""Every optimizer of this folder. python/make_catalogue.py writes this file."""

from .adadelta import Adadelta
from .adafactor import Adafactor
from .adagrad import Adagrad
from .adam import Adam
from .adamax import Adamax
from .adamw import AdamW
from .adamw_schedule_free import AdamWScheduleFree
from .ademamix import AdEMAMix
from .asgd import ASGD
from .lamb import LAMB
from .lars import LARS
from .lion import Lion
from .muon import Muon
from .nadam import NAdam
from .nag import NAG
from .radam import RAdam
from .rmsprop import RMSprop
from .rowwise_adagrad import RowwiseAdagrad
from .rprop import Rprop
from .sgd import SGD
from .sgd_schedule_free import SGDScheduleFree
from .sparse_adam import SparseAdam

__all__ = [
    "ASGD",
    "AdEMAMix",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "LAMB",
    "LARS",
    "Lion",
    "Muon",
    "NAG",
    "NAdam",
    "RAdam",
    "RMSprop",
    "RowwiseAdagrad",
    "Rprop",
    "SGD",
    "SGDScheduleFree",
    "SparseAdam",
]
