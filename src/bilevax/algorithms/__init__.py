"""Published methods as presets: a reference, defaults, and one expression each."""

from ._amigo import aid_cg, aid_cg_ws, aid_fp, aid_gd, aid_n, amigo_cg, amigo_gd

__all__ = ["aid_cg", "aid_cg_ws", "aid_fp", "aid_gd", "aid_n", "amigo_cg", "amigo_gd"]
