"""What is looked at before a training starts: by the sweep itself, and by `flare-ray doctor`.

    findings.py   what a finding is
    here.py       Python, packages and settings of this machine
    hub.py        what is read from the Hugging Face hub
    memory.py     what a worker needs, by counted parameters
    sweep.py      that against GPUs, memory and disks
    probe.py      what each node tells of itself, and tries with the store
    nodes.py      the nodes of the cluster beside one another
    strangers.py  whether the cluster answers without a token
    run.py        all of it

What is bad ends the sweep with exit code 2 and all of it at once; warnings are printed, and it continues.
"""
