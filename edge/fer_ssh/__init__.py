"""Commands on another machine over SSH, for the packages that run on the host: deployments and measurements.

>>> Address("ada@fer-edge.local", port=2222).words()
['-p', '2222']
"""

from fer_ssh.ssh import Address, Answer, Ssh

__all__ = ["Address", "Answer", "Ssh"]
