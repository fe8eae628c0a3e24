{{- /* Everything is where the node has it, so that what the runtime and the plugin say of a path is true here too. */ -}}
{{- define "sidestep.mounts" -}}
# The plugin's socket, the agent's lock.
- name: run
  mountPath: /run/sidestep
# Pins: they are what stays when the agent ends.
- name: bpffs
  mountPath: /sys/fs/bpf
  mountPropagation: {{ ternary "HostToContainer" "Bidirectional" .Values.leastPrivilege }}
# Pods' cgroups, which programs are linked to.
- name: cgroup
  mountPath: /sys/fs/cgroup
  mountPropagation: HostToContainer
# Pods' network namespaces: each is a mount, and comes after ours.
- name: netns
  mountPath: {{ .Values.cniNetnsDir }}
  mountPropagation: HostToContainer
{{- if hasPrefix "/var/run/" .Values.cniNetnsDir }}
- name: netns
  mountPath: {{ trimPrefix "/var" .Values.cniNetnsDir }}
  mountPropagation: HostToContainer
{{- end }}
# The container runtime's socket. What is mounted below it on the node is unmounted here too, when it is there.
- name: runtime
  mountPath: {{ dir .Values.runtimeSocket }}
  mountPropagation: HostToContainer
  readOnly: true
# Where the plugin and its entry go.
- name: cni-bin
  mountPath: {{ .Values.cniBinDir }}
- name: cni-conf
  mountPath: {{ .Values.cniConfDir }}
{{- end }}

{{- define "sidestep.volumes" -}}
- name: run
  hostPath: { path: /run/sidestep, type: DirectoryOrCreate }
- name: bpffs
  hostPath: { path: /sys/fs/bpf, type: Directory }
- name: cgroup
  hostPath: { path: /sys/fs/cgroup, type: Directory }
# Not there before the first pod has a network of its own.
- name: netns
  hostPath: { path: {{ .Values.cniNetnsDir }}, type: DirectoryOrCreate }
# One of these three is missing: the value is not right for this node, and the pod's events say so.
- name: runtime
  hostPath: { path: {{ dir .Values.runtimeSocket }}, type: Directory }
- name: cni-bin
  hostPath: { path: {{ .Values.cniBinDir }}, type: Directory }
- name: cni-conf
  hostPath: { path: {{ .Values.cniConfDir }}, type: Directory }
{{- end }}
