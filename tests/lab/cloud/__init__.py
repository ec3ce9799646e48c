"""An OpenStack cloud made of one HTTP process.

Keystone, Nova, Cinder, Neutron and Glance as far as Trove's own clients use
them, on the paths a devstack has. Servers are real (lab/guests).
"""
