"""Learning from pairs: Diffusion-DPO, and its reverse that Diffusion-NPO trains a negative offset with. No networks here.

    L = -log sigmoid( -beta_dpo * [ (e_w - e_w_ref) - (e_l - e_l_ref) ] )        Diffusion-DPO, arXiv 2311.12908, eq. 14

with e the squared prediction errors at one noise level and one noise, of the preferred picture (w) and of the rejected one (l).
Diffusion-NPO (arXiv 2505.11245, section 4) swaps the two: the offset learns what people reject.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo_loss(error_w: Tensor, error_l: Tensor, reference_w: Tensor, reference_l: Tensor, beta_dpo: float) -> Tensor:
    """The mean loss over pairs, a scalar; log 2 where the student is the reference.

    Args:
        error_w, error_l: (pairs,) the student's errors on the picture to learn and on the one to leave.
        reference_w, reference_l: (pairs,) the errors of the network before training, constants here.
        beta_dpo: how strongly the student is held to the reference, > 0; the papers have 500 to 5000. The timestep weight
            of the equation is part of it, and errors are means over a latent, as in the script of Diffusion-NPO.
    """
    gained = (error_w - reference_w.detach()) - (error_l - reference_l.detach())
    return -logsigmoid(-beta_dpo * gained).mean()
